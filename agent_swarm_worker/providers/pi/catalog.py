"""What is known of models without asking anybody: short names, context windows, vendors."""

from __future__ import annotations

import re

from agent_swarm_worker.providers import catalog
from agent_swarm_worker.providers.pi.spec import SPEC

ANTHROPIC_NAMES = SPEC.models.aliases
"""Short names at Anthropic."""
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
"""Of a model that the catalogue does not have."""
_VENDORS = (
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"(?:gpt-|chatgpt-|codex-|o\d)"), "openai"),
)


def context_window(model: str) -> int:
    """Return the context window of a model in tokens."""
    return catalog.context_window(model, SPEC.models) or DEFAULT_WINDOW


def vendor_of(model: str) -> str | None:
    """Return whose model an id without a provider must be, if its name tells."""
    return next((vendor for name, vendor in _VENDORS if name.match(model)), None)
