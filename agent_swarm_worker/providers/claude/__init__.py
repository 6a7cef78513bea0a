"""Claude Code as a harness: its command line, driven once per task with the prompt on stdin."""
