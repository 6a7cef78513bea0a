"""Notes how much of a journal the outbox has, so that a restart uploads the rest and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.swarm.queue import WriteKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.swarm.outbox import Outbox
    from agent_swarm_worker.swarm.state import StateDir


class LogCursor:
    """The outbox as one session's reporter sees it."""

    def __init__(self, outbox: Outbox, state: StateDir, task_id: str) -> None:
        self._outbox = outbox
        self._state = state
        self._task_id = task_id

    def put(self, lane: str, kind: WriteKind, args: Mapping[str, Any]) -> None:
        """Queue a write; a range of the journal moves the cursor."""
        self._outbox.put(lane, kind, args)
        if kind is WriteKind.LOGS:
            self._state.set_log_offset(self._task_id, args["end"], args["path"])
