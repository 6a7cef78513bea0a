"""What was decided for a session before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.providers.codex.usage import Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePath

    from agent_swarm_worker.providers.codex.credentials import Credential
    from agent_swarm_worker.providers.codex.program import Transport

NETWORK_TIMEOUT_S = 180.0
PROMPT_PLACES = ("developer", "agents-md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The choices that the configuration file, the launch and the translation share."""

    transport: Transport
    model: str
    effort: str | None
    """The effort as the CLI calls it; ``None`` leaves it to the model."""
    applied_effort: str | None = None
    """The same in the worker's words."""
    home: PurePath
    """The session's own folder for the CLI's files."""
    credential: Credential
    uses_agents_md: bool = False
    network_timeout_s: float = NETWORK_TIMEOUT_S
    """How long the CLI may do nothing but try to reach the model API."""
    used_before: Tokens = field(default_factory=Tokens)
    changed_system_prompt: str = ""
    """What a resumed thread has to be told: it keeps the instructions it was started with."""


def network_timeout_s(env: Mapping[str, str]) -> float:
    """Return ``CODEX_NETWORK_TIMEOUT_SECONDS``.

    Raises:
        BadSetting: it is no number of seconds.
    """
    value = env.get("CODEX_NETWORK_TIMEOUT_SECONDS", "").strip()
    try:
        seconds = float(value) if value else NETWORK_TIMEOUT_S
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise BadSetting("CODEX_NETWORK_TIMEOUT_SECONDS", value, "not a number of seconds")
    return seconds


def uses_agents_md(env: Mapping[str, str]) -> bool:
    """Read ``CODEX_SYSTEM_PROMPT``: ``developer`` (the default) or ``agents-md``.

    Raises:
        BadSetting: it is neither.
    """
    place = env.get("CODEX_SYSTEM_PROMPT", "").strip().lower() or PROMPT_PLACES[0]
    if place not in PROMPT_PLACES:
        raise BadSetting("CODEX_SYSTEM_PROMPT", place, f"known are {' and '.join(PROMPT_PLACES)}")
    return place == "agents-md"
