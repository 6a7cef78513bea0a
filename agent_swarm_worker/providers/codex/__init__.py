"""Floor 4: the harness ``codex``, OpenAI's Codex CLI."""
