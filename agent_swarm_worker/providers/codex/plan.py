"""What was decided for a session before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent_swarm_worker.providers.codex.options import NETWORK_TIMEOUT_S
from agent_swarm_worker.providers.kit.costs import Tokens

if TYPE_CHECKING:
    from pathlib import PurePath

    from agent_swarm_worker.providers.codex.credentials import Credential
    from agent_swarm_worker.providers.codex.program import Transport


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
