"""Floor 4: composing the system prompt and the user prompt; the texts lie in top-level prompts/."""
