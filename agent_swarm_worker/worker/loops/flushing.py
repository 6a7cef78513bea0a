"""Delivers the outbox and the unqueued journal lines of a stopped worker (`swarm-worker flush`).

No session begins, and no task is claimed or handed back.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.contract.listening import ByteRange
from agent_swarm_worker.errors import StateMissing
from agent_swarm_worker.journal.files import number_of_rest
from agent_swarm_worker.journal.reading import end_of_last_line, range_args, upload_args
from agent_swarm_worker.outbox.outbox import Outbox
from agent_swarm_worker.outbox.queue import BacklogRow, WriteKind, backlog
from agent_swarm_worker.state.directory import StateDir, agent_dir, stored_agent_id
from agent_swarm_worker.worker.recovery.upload_cursor import UploadCursor, with_resynced_cursor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.settings import Settings
    from agent_swarm_worker.state.directory import Claim

DATABASE = "worker.sqlite"
UNQUEUED_KIND = "journal"
"""The kind shown for journal lines of a crashed worker that are not in the outbox yet."""
COUNT_INTERVAL_S = 0.1
AGENT_ID_KEY = "agent_id"
"""The note in which a worker stores its id; a directory's name may be derived from it."""


def agents_of(settings: Settings, *, all_agents: bool) -> tuple[str, ...]:
    """Return the agents whose directories can be flushed: this one, or all below the root.

    Raises:
        StateMissing: there is none.
    """
    root = settings.state_root()
    if all_agents:
        found = tuple(sorted(path.parent.name for path in root.glob(f"*/{DATABASE}")))
        if not found:
            raise StateMissing(root)
        return found
    agent_id = settings.agent_id or stored_agent_id(root)
    if not agent_id or not (agent_dir(root, agent_id) / DATABASE).is_file():
        raise StateMissing(agent_dir(root, agent_id) if agent_id else root)
    return (agent_id,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """One agent's directory, opened for delivery."""

    state: StateDir
    client: SwarmClient
    outbox: Outbox
    log: Log

    def waiting(self) -> tuple[BacklogRow, ...]:
        """Return what is to be delivered, including lines that are not queued yet."""
        unqueued = [
            BacklogRow(lane=claim.task_id, kind=UNQUEUED_KIND, writes=1, size_bytes=size)
            for claim in self.state.running()
            if (size := _unqueued_end(claim) - claim.log_offset) > 0
        ]
        return (*backlog(self.state.database), *unqueued)

    async def deliver(self, timeout_s: float, on_count: Callable[[int], None]) -> None:
        """Deliver until nothing is left, or the wall-clock time is over; the rest stays on disk.

        `on_count` is called with the number of writes left.
        """
        for claim in self.state.running():
            self._queue_unqueued(
                await with_resynced_cursor(
                    claim, state=self.state, client=self.client, log=self.log
                )
            )
        async with anyio.create_task_group() as group:
            group.start_soon(self.outbox.run)
            with anyio.move_on_after(timeout_s):
                while left := self.outbox.pending():
                    on_count(left)
                    await anyio.sleep(COUNT_INTERVAL_S)
            group.cancel_scope.cancel()

    def _queue_unqueued(self, claim: Claim) -> None:
        end = _unqueued_end(claim)
        if end <= claim.log_offset:
            return
        args = upload_args(
            task_id=claim.task_id if claim.phase != "no_task" else None,
            session_uuid=claim.session_uuid,
            number=number_of_rest(claim.iteration, claim.log_offset),
            harness=claim.harness,
        ) | range_args(claim.log_file, ByteRange(claim.log_offset, end))
        cursor = UploadCursor(self.outbox, self.state, claim.task_id)
        cursor.put(claim.task_id, WriteKind.LOGS, args)


@asynccontextmanager
async def opened(
    settings: Settings, agent_id: str, *, clock: Clock, log: Log
) -> AsyncIterator[Flush]:
    """Lock an agent's directory, and open the connection.

    Raises:
        StateLocked: a worker uses it, and delivers by itself.
        StateUnwritable: it cannot be written.
        BadSetting: the API's address or key cannot be used.
    """
    with StateDir.open(settings.state_root(), agent_id, clock=clock, log=log) as state:
        async with Http(
            settings.api_url,
            health=ApiHealth(clock, log),
            api_key=settings.api_key,
            agent_id=state.noted(AGENT_ID_KEY) or agent_id,
            timeout_s=settings.api_timeout_s,
        ) as http:
            client = SwarmClient(http, ServerCapabilities(clock, log))
            outbox = Outbox(state.database, client, clock=clock, log=log)
            yield Flush(state=state, client=client, outbox=outbox, log=log)


def _unqueued_end(claim: Claim) -> int:
    try:
        return end_of_last_line(claim.log_file, claim.log_offset)
    except OSError:
        return 0
