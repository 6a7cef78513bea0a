"""Stores how much of a journal is in the outbox, and resyncs that offset after a power cut."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.journal.repair import cut_torn_end, uploaded_end
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.outbox.read_back import is_line

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
    """Move a claim's upload cursor to the end of the lines on the server, if that is known.

    Only after an unclean stop of the machine: then the stored cursor may be behind.
    """
    if not state.was_rebooted:
        return claim
    try:
        cut_torn_end(claim.log_file)
        stored = await client.tasks.session_logs(claim.task_id)
        offset = uploaded_end(
            claim.log_file,
            [row for row in stored if row.session_id == claim.session_uuid],
            iteration=claim.iteration,
            is_same=is_line,
        )
        # The power cut may have shortened the journal as well.
        offset = min(max(offset, claim.log_offset), claim.log_file.stat().st_size)
    except (ApiError, OSError) as error:
        log.debug(Event.TASK_RECOVERED, task=claim.task_id, why=str(error))
        return claim
    if offset != claim.log_offset:
        state.set_log_offset(claim.task_id, offset, str(claim.log_file))
    return replace(claim, log_offset=offset)


class UploadCursor:
    """Queues the writes of one session, and moves its cursor with each range of the journal."""

    def __init__(
        self, outbox: Outbox, state: StateDir, task_id: str, *, may_repeat: bool = False
    ) -> None:
        """With `may_repeat`, after a crash, the server may have the same writes already."""
        self._outbox, self._state, self._task_id = outbox, state, task_id
        self._maybe_delivered = (WriteKind.COST, WriteKind.EVENTS) if may_repeat else ()
        self._is_after_power_cut = may_repeat and state.was_rebooted
        if self._is_after_power_cut:
            self._maybe_delivered = (*self._maybe_delivered, WriteKind.CONTEXT)

    def put(self, lane: str, kind: WriteKind, args: Mapping[str, Any]) -> None:
        """Queue a write; one of a journal range moves the cursor."""
        if self._is_after_power_cut and kind is WriteKind.EVENTS:
            args = {**args, "told_before": True}
        self._outbox.put(lane, kind, args, maybe_delivered=kind in self._maybe_delivered)
        if kind is WriteKind.LOGS and "path" in args:
            self._state.set_log_offset(self._task_id, args["end"], args["path"])

    def transaction(self) -> AbstractContextManager[None]:
        """Store all writes of the block in one transaction."""
        return self._state.database.transaction()

    def mark_reported(self) -> None:
        """Store that the events of all lines so far are queued."""
        self._state.mark_reported(self._task_id)
