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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.swarm.state import Claim
    from agent_swarm_worker.swarm.wire import LogEntry
    from agent_swarm_worker.worker.context import Worker


async def with_its_log_found(worker: Worker, claim: Claim) -> Claim:
    """Move a claim's cursor to where the server is; it stays where nobody can tell."""
    if not worker.state.was_cut_off:
        return claim
    try:
        stored = await worker.client.tasks.session_logs(claim.task_id)
        offset = _end_of(claim, [row for row in stored if row.session_id == claim.session_uuid])
        # The journal may have become shorter, too.
        offset = min(max(offset, claim.log_offset), claim.log_file.stat().st_size)
    except (ApiError, OSError) as error:
        worker.log.debug(Event.TASK_RECOVERED, task=claim.task_id, why=str(error))
        return claim
    if offset == claim.log_offset:
        return claim
    worker.state.set_log_offset(claim.task_id, offset, str(claim.log_file))
    return replace(claim, log_offset=offset)


def _end_of(claim: Claim, stored: Sequence[LogEntry]) -> int:
    """Return the offset behind the last stored line, 0 if it is not to be found in the journal.

    Raises:
        OSError: the journal cannot be read.
    """
    size, is_shorter = claim.log_file.stat().st_size, False
    with claim.log_file.open("rb") as journal:
        head = len(journal.readline())
    # Not all are numbered like this: what an earlier recovery sent is not, for one.
    for number in sorted({row.iteration for row in stored}, reverse=True):
        request = {row.line_number: row.content for row in stored if row.iteration == number}
        begin = head + number - claim.iteration
        if begin >= size:
            is_shorter = True  # the disk had not been given the end of it
            continue
        lines, end = read_lines(claim.log_file, max(begin, head), size, len(request))
        if lines and all(
            is_same_text(line, request.get(n, "")) or is_cuttable(line)
            for n, line in enumerate(lines)
        ):
            return size if is_shorter else end
    return 0
