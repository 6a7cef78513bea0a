"""Where the server is in the log of a session whose cursor a power cut has set back.

Each request of a log says how many bytes of it came before (`reporting.writes`), so the newest one
that is stored tells where its lines lie in the journal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.swarm.long_lines import is_cuttable
from agent_swarm_worker.swarm.read_back import is_same_text
from agent_swarm_worker.swarm.uploads import read_lines
from agent_swarm_worker.worker.journal_end import cut_what_is_torn
from agent_swarm_worker.worker.log_cursor import AFTER_ALL_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.swarm.client import SwarmClient
    from agent_swarm_worker.swarm.state import Claim, StateDir
    from agent_swarm_worker.swarm.wire import LogEntry


async def with_its_log_found(
    claim: Claim, *, state: StateDir, client: SwarmClient, log: Log
) -> Claim:
    """Move a claim's cursor to where the server is; it stays where nobody can tell."""
    if not state.was_cut_off:
        return claim
    try:
        cut_what_is_torn(claim.log_file)
        stored = await client.tasks.session_logs(claim.task_id)
        offset = _end_of(claim, [row for row in stored if row.session_id == claim.session_uuid])
        # The journal may have become shorter, too.
        offset = min(max(offset, claim.log_offset), claim.log_file.stat().st_size)
    except (ApiError, OSError) as error:
        log.debug(Event.TASK_RECOVERED, task=claim.task_id, why=str(error))
        return claim
    if offset != claim.log_offset:
        state.set_log_offset(claim.task_id, offset, str(claim.log_file))
    return replace(claim, log_offset=offset)


def _end_of(claim: Claim, stored: Sequence[LogEntry]) -> int:
    """Return the offset behind the last stored line, 0 if it is not to be found in the journal.

    Raises:
        OSError: the journal cannot be read.
    """
    size, is_shorter = claim.log_file.stat().st_size, False
    with claim.log_file.open("rb") as journal:
        head = len(journal.readline())
    for number in sorted({row.iteration for row in stored}, reverse=True):
        request = {row.line_number: row.content for row in stored if row.iteration == number}
        before = number - claim.iteration
        # As its session numbered it, or as a recovery did.
        for begin in (head + before, before - AFTER_ALL_BYTES):
            if head <= begin < size and (end := _end_of_request(claim, begin, size, request)):
                return size if is_shorter else end
        # The disk had not been given the end of what was said.
        is_shorter = is_shorter or head + before >= size
    return 0


def _end_of_request(claim: Claim, begin: int, size: int, request: Mapping[int, str]) -> int:
    """Return where the lines of a request end if they begin there, else 0."""
    lines, end = read_lines(claim.log_file, begin, size, len(request))
    is_there = lines and all(
        is_same_text(line, request.get(n, "")) or is_cuttable(line) for n, line in enumerate(lines)
    )
    return end if is_there else 0
