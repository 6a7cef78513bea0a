"""What is known of Claude models beforehand: context windows and reasoning effort.

The CLI resolves short names such as ``opus`` itself and says at the start of a session which model
runs, so everything here is asked with the full name. Measured with Claude Code 2.1.329.
"""

from __future__ import annotations

import re

DEFAULT_MODEL = "opus"
"""What runs when nobody chose (API reference section 4.3)."""

LARGE_WINDOW = 1_000_000
SMALL_WINDOW = 200_000

_NAME = re.compile(r"claude-(?:(opus|sonnet|haiku|fable|mythos)-)?(\d)(?:-(\d{1,2}))?(?!\d)")


def context_window(model: str) -> int | None:
    """Return the tokens a model can hold, or ``None`` if the model is not known.

    Only a first guess: the final event of a session says it exactly.
    """
    if model.endswith("[1m]"):
        return LARGE_WINDOW
    version = _version(model)
    if version is None:
        return None
    return LARGE_WINDOW if version >= (4, 7) else SMALL_WINDOW


def effort_env(level: str | None) -> dict[str, str]:
    """Return the environment that asks the CLI for a reasoning effort.

    It is set whatever the model: the CLI alone knows which one a short name stands for, and it
    lowers or drops what that model cannot do.
    """
    if level is None:
        return {}
    if level == "off":
        return {"MAX_THINKING_TOKENS": "0"}
    return {"CLAUDE_CODE_EFFORT_LEVEL": level}


def applied_effort(model: str, level: str | None) -> str | None:
    """Return the effort `model` really works with when `level` is asked for; ``None`` if none."""
    version = _version(model)
    if not model or level is None:
        return None
    if version is None:
        return level  # a model the CLI does not know either: it passes the wish on
    if level == "off":
        return "off" if version <= (5, 0) and not _thinks_always(model) else None
    if version >= (4, 7):
        return level
    if version == (4, 6):
        return "high" if level == "xhigh" else level
    if version == (4, 5) and "opus" in model:
        return "high" if level in {"xhigh", "max"} else level
    return None


def _thinks_always(model: str) -> bool:
    return "fable" in model or "mythos" in model


def _version(model: str) -> tuple[int, int] | None:
    match = _NAME.search(model)
    return (int(match[2]), int(match[3] or 0)) if match else None
