"""The harness ``codex``: OpenAI's command line, one process per task."""
