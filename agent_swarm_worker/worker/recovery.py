"""After a crash: what the last process of this agent left behind.

A task it was running is ended here, its journal's rest goes out, and the server is told
``crash_recovery`` so that it makes a resume task for this very agent (API reference section 7.3).
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event
from agent_swarm_worker.reporting.log_tail import BLOCK_BYTES
from agent_swarm_worker.reporting.port import task_lane
from agent_swarm_worker.swarm.queue import WriteKind
from agent_swarm_worker.worker.log_cursor import LogCursor
from agent_swarm_worker.worker.preparation import SESSIONS_DIR

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.swarm.state import Claim
    from agent_swarm_worker.worker.context import Worker

LAST_WORDS_S = 3.0
"""How long a start waits for what the last process had queued to arrive."""
AFTER_ALL_BYTES = 1 << 20
"""Puts the rest of a log after all that was sent of it, an earlier journal of the session included:
log requests are numbered by the bytes before them (`reporting.writes`)."""


async def recover(worker: Worker) -> None:
    """Deal with every task an earlier process had claimed; before anything else is claimed."""
    for claim in worker.state.running():
        await worker.sandbox.sweep(claim.tag)
        _upload_rest(worker, claim)
        if claim.phase != "running" or await _hand_back(worker, claim):
            worker.state.forget(claim.task_id)
    # A result among it must be there before the server is asked for tasks that never began.
    await worker.outbox.flush_all(LAST_WORDS_S)
    # Private files of sessions that are no more; a killed process could not remove its own.
    shutil.rmtree(worker.state.path / SESSIONS_DIR, ignore_errors=True)


def _upload_rest(worker: Worker, claim: Claim) -> None:
    """Queue the journal's lines that had not been queued, and note that they now are."""
    try:
        end = end_of_last_line(claim.log_file, claim.log_offset)
    except OSError:
        return
    if end <= claim.log_offset:
        return
    args = {
        "task_id": claim.task_id if claim.phase != "no_task" else None,
        "session_uuid": claim.session_uuid,
        "iteration": claim.iteration + claim.log_offset + AFTER_ALL_BYTES,
        "cli": claim.harness,
        "path": str(claim.log_file),
        "start": claim.log_offset,
        "end": end,
    }
    cursor = LogCursor(worker.outbox, worker.state, claim.task_id)
    cursor.put(task_lane(claim.task_id), WriteKind.LOGS, args)


def end_of_last_line(path: Path, start: int) -> int:
    """Return the offset after the last line break behind `start`, else `start`.

    From the end, block by block: what an outage has kept back can be more than memory holds.
    """
    with path.open("rb") as journal:
        end = journal.seek(0, os.SEEK_END)
        while end > start:
            begin = max(start, end - BLOCK_BYTES)
            journal.seek(begin)
            found = journal.read(end - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
    return start


async def _hand_back(worker: Worker, claim: Claim) -> bool:
    """Have the task resumed; false if the server could not be told, so that a later start must."""
    try:
        current = await worker.client.tasks.get(claim.task_id)
        if current.status != "in_progress" or current.agent_id != worker.agent_id:
            return True
        answer = await worker.client.tasks.supersede(claim.task_id, "crash_recovery")
    except ApiError as error:
        worker.log.warning(Event.TASK_RECOVERED, task=claim.task_id, why=str(error))
        return isinstance(error, ApiRefused) and not error.is_server_fault
    worker.log.warning(
        Event.TASK_RECOVERED, task=claim.task_id, kind=answer.kind, resume=answer.resume_task_id
    )
    return True
