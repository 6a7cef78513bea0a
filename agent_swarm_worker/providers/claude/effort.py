"""Ask Claude Code for a reasoning effort, and tell which one a model applies."""

from __future__ import annotations

from agent_swarm_worker.providers.catalog import effort_levels, lowered_effort


def effort_env(level: str | None) -> dict[str, str]:
    """Return the variables that ask the CLI for a reasoning effort.

    They do not depend on the model: only the CLI knows the model of a short name, and it lowers or
    drops a level that the model does not have.
    """
    if level is None:
        return {}
    if level == "off":
        return {"MAX_THINKING_TOKENS": "0"}
    return {"CLAUDE_CODE_EFFORT_LEVEL": level}


def applied_effort(model: str, level: str | None) -> str | None:
    """Return the effort `model` applies when `level` is requested; ``None`` if none.

    `model` is the full name that the CLI reports at the start (measured with 2.1.329).
    """
    if not model or level is None:
        return None
    levels = effort_levels(model)
    # A model unknown here is unknown to the CLI, which then passes the level on.
    return level if levels is None else lowered_effort(level, levels)
