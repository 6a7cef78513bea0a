"""The harness ``claude``: Claude Code, one process of its command line per task."""
