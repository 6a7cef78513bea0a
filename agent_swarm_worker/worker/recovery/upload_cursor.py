"""Moves a session's upload cursor to where the server is, after a power cut has set it back.

Notes how much of a journal the outbox has, so that a restart uploads the rest and no more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.journal.repair import cut_torn_end, uploaded_end
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.outbox.read_back import is_same_text
from agent_swarm_worker.outbox.uploads import is_cuttable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.outbox.outbox import Outbox
    from agent_swarm_worker.state.directory import Claim, StateDir


async def with_resynced_cursor(
    claim: Claim, *, state: StateDir, client: SwarmClient, log: Log
) -> Claim:
    """Move a claim's cursor to where the server is; it stays where nobody can tell."""
    if not state.was_cut_off:
        return claim
    try:
        cut_torn_end(claim.log_file)
        stored = await client.tasks.session_logs(claim.task_id)
        offset = uploaded_end(
            claim.log_file,
            [row for row in stored if row.session_id == claim.session_uuid],
            iteration=claim.iteration,
            is_same=_may_be,
        )
        # The journal may have become shorter, too.
        offset = min(max(offset, claim.log_offset), claim.log_file.stat().st_size)
    except (ApiError, OSError) as error:
        log.debug(Event.TASK_RECOVERED, task=claim.task_id, why=str(error))
        return claim
    if offset != claim.log_offset:
        state.set_log_offset(claim.task_id, offset, str(claim.log_file))
    return replace(claim, log_offset=offset)


def _may_be(line: str, stored: str) -> bool:
    return is_same_text(line, stored) or is_cuttable(line)


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

    def transaction(self) -> AbstractContextManager[None]:
        """Make all that is put in the block one write to the disk."""
        return self._state.database.transaction()

    def events_reported(self) -> None:
        """Note that the events of all lines so far are queued."""
        self._state.set_told(self._task_id)
