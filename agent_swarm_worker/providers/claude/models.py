"""How Claude Code is asked for reasoning effort, and what comes of it.

The CLI resolves short names such as ``opus`` itself and says at the start of a session which model
runs, so everything here is asked with the full name. Measured with Claude Code 2.1.329.
"""

from __future__ import annotations

from agent_swarm_worker.providers.catalog import effort_levels, lowered_effort
from agent_swarm_worker.providers.claude.spec import SPEC

DEFAULT_MODEL = SPEC.models.default
"""What runs when nobody chose (docs/api.md 15.8)."""


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
    if not model or level is None:
        return None
    levels = effort_levels(model)
    # A model that nobody knows is one the CLI does not know either: it passes the wish on.
    return level if levels is None else lowered_effort(level, levels)
