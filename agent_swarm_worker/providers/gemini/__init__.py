"""The harness ``gemini``: Google's Gemini CLI, one process of its command line per task."""
