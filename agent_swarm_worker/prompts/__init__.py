"""Compose the system prompt and the user prompt from the templates in top-level ``prompts/``."""
