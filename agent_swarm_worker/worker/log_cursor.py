"""Notes how much of a journal the outbox has, so that a restart uploads the rest and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.swarm.queue import WriteKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from agent_swarm_worker.swarm.outbox import Outbox
    from agent_swarm_worker.swarm.state import StateDir


class LogCursor:
    """The outbox as one session's reporter sees it."""

    def __init__(
        self, outbox: Outbox, state: StateDir, task_id: str, *, tells_again: bool = False
    ) -> None:
        """Open the cursor of one session.

        Args:
            outbox: where writes go.
            state: where the cursor is kept.
            task_id: whose session it is.
            tells_again: true after a crash: the server may have been told the same before.
        """
        self._outbox = outbox
        self._state = state
        self._task_id = task_id
        self._doubtful = (WriteKind.COST, WriteKind.EVENTS) if tells_again else ()
        self._is_set_back = tells_again and state.was_cut_off
        if self._is_set_back:
            self._doubtful = (*self._doubtful, WriteKind.CONTEXT)

    def put(self, lane: str, kind: WriteKind, args: Mapping[str, Any]) -> None:
        """Queue a write; a range of the journal moves the cursor."""
        if self._is_set_back and kind is WriteKind.EVENTS:
            args = {**args, "told_before": True}
        self._outbox.put(lane, kind, args, doubtful=kind in self._doubtful)
        if kind is WriteKind.LOGS and "path" in args:
            self._state.set_log_offset(self._task_id, args["end"], args["path"])

    def together(self) -> AbstractContextManager[None]:
        """Make all that is put in the block one write to the disk."""
        return self._state.database.together()

    def told(self) -> None:
        """Note that the events of all lines so far are queued."""
        self._state.set_told(self._task_id)
