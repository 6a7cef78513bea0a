"""Moves a session's upload cursor to where the server is, after a power cut has set it back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.journal.repair import cut_torn_end
from agent_swarm_worker.journal.resync import uploaded_end
from agent_swarm_worker.logs import Event
from agent_swarm_worker.swarm.long_lines import is_cuttable
from agent_swarm_worker.swarm.read_back import is_same_text

if TYPE_CHECKING:
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.swarm.client import SwarmClient
    from agent_swarm_worker.swarm.state import Claim, StateDir


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
