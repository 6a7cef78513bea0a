"""What became of a run: handed from the session to the finish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderResult
    from agent_swarm_worker.reporting.reporter import SessionReporter
    from agent_swarm_worker.worker.preparation import Ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a session ended, with what its report needs."""

    result: ProviderResult
    ready: Ready | None = None
    reporter: SessionReporter | None = None
    """``None`` for both if the session never began."""
