"""What is known of OpenAI's models beforehand: short names and reasoning effort."""

from __future__ import annotations

from agent_swarm_worker.providers.catalog import effort_levels
from agent_swarm_worker.providers.codex.spec import SPEC

DEFAULT_MODEL = SPEC.models.default
"""What runs when nobody chose, neither here nor in the operator's ``config.toml``."""


def resolve_model(model: str) -> str:
    """Return the full name of a model; tasks may use the short names of another vendor's."""
    name = model.strip()
    return SPEC.models.aliases.get(name.lower(), name)


def native_effort(model: str, level: str | None) -> str | None:
    """Return a level as the CLI calls it, or ``None`` if `model` does not have it.

    The API refuses a level that a model does not know, so one that is in doubt is not asked for.
    """
    levels = None if "/" in model else effort_levels(model)
    if level is None or level not in (levels or ()):
        return None
    return "none" if level == "off" else level
