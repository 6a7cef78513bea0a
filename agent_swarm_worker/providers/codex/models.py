"""What is known of OpenAI's models beforehand: short names and reasoning effort."""

from __future__ import annotations

import re

DEFAULT_MODEL = "gpt-5.6-terra"
"""What runs when nobody chose, neither here nor in the operator's ``config.toml``."""

_SHORT_NAMES = {
    "fable": "gpt-5.6-sol",
    "opus": "gpt-5.6-sol",
    "sonnet": "gpt-5.6-terra",
    "haiku": "gpt-5.6-luna",
}
_VERSION = re.compile(r"gpt-(\d+)(?:\.(\d+))?(-codex(?:-max)?)?(?![\d.])")


def resolve_model(model: str) -> str:
    """Return the full name of a model; tasks may use the short names of another vendor's."""
    name = model.strip()
    return _SHORT_NAMES.get(name.lower(), name)


def native_effort(model: str, level: str | None) -> str | None:
    """Return a level as the CLI calls it, or ``None`` if `model` does not have it.

    The API refuses a level that a model does not know, so one that is in doubt is not asked for.
    """
    if level is None or level not in _levels(model):
        return None
    return "none" if level == "off" else level


def _levels(model: str) -> tuple[str, ...]:
    match = _VERSION.match(model)
    if match is None or int(match[1]) < 5:
        return ()
    version, variant = (int(match[1]), int(match[2] or 0)), match[3]
    usual = ("low", "medium", "high")
    if variant:
        return (*usual, "xhigh") if variant == "-codex-max" else usual
    if version < (5, 2):
        return usual
    return (
        *(("off",) if version[0] == 5 else ()),
        *usual,
        "xhigh",
        *(("max",) if version >= (5, 6) else ()),
    )
