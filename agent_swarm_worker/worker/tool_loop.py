"""Ends a session whose agent goes round in circles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.contract import ProviderEvent, ToolEnd, ToolStart
from agent_swarm_worker.contract.listening import listens_to
from agent_swarm_worker.guards.tool_loop import ToolLoopDetector
from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.logs import Log


class ToolLoopGuard:
    """A listener; hands the reason to `on_loop` when the detector says stop."""

    def __init__(self, on_loop: Callable[[str], None], *, clock: Clock, log: Log) -> None:
        self._detector = ToolLoopDetector(clock)
        self._on_loop = on_loop
        self._log = log
        self._has_tripped = False

    @listens_to(ToolStart, ToolEnd)
    def on_event(self, event: ProviderEvent) -> None:
        """Watch tool calls and their answers."""
        if isinstance(event, ToolEnd):
            self._detector.ended(event.tool_call_id, event.result)
        if not isinstance(event, ToolStart) or self._has_tripped:
            return
        verdict = self._detector.started(event.tool_name, event.args, event.tool_call_id)
        if verdict.level == "ok":
            return
        self._log.warning(Event.TOOL_LOOP, verdict=verdict.level, why=verdict.reason)
        if verdict.level == "block":
            self._has_tripped = True
            self._on_loop(f"tool-loop: {verdict.reason}")
