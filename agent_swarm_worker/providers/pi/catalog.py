"""What is known of models without asking anybody: short names, context windows, vendors."""

from __future__ import annotations

import re

ANTHROPIC_NAMES = {
    "fable": "claude-fable-5",
    "opus": "claude-opus-4-8",
    "sonnet": "claude-sonnet-5",
    "haiku": "claude-haiku-4-5-20251001",
}
"""Short names at Anthropic (harness reference 9d)."""
OPENROUTER_NAMES = {
    "fable": "anthropic/claude-fable-5",
    "opus": "anthropic/claude-opus-4.8",
    "sonnet": "anthropic/claude-sonnet-5",
    "haiku": "anthropic/claude-haiku-4.5",
}
"""The same models at OpenRouter, where there is no Anthropic credential."""
DEFAULT_MODELS = {
    "anthropic": ANTHROPIC_NAMES["opus"],
    "openrouter": OPENROUTER_NAMES["opus"],
    "openai": "gpt-5.6-terra",
}
"""What runs if nobody asks for a model, by the first credential there is."""

DEFAULT_WINDOW = 200_000
_LARGE_WINDOW = 1_000_000
_LARGE = re.compile(
    r"claude-(?:opus-5|fable-5|mythos-5|sonnet-5|opus-4-[5-8]|sonnet-4-[56])(?:-|$)"
)
_VENDORS = (
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"(?:gpt-|chatgpt-|codex-|o\d)"), "openai"),
)


def context_window(model: str) -> int:
    """Return the context window of a model in tokens (harness reference 17)."""
    plain = model.rpartition("/")[2].replace(".", "-")
    return _LARGE_WINDOW if _LARGE.match(plain) else DEFAULT_WINDOW


def vendor_of(model: str) -> str | None:
    """Return whose model an id without a provider must be, if its name tells."""
    return next((vendor for name, vendor in _VENDORS if name.match(model)), None)
