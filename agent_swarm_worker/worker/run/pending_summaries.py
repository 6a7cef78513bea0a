"""Keep the requested summaries of sessions until each is a memory (docs/api.md 15.5).

A request is stored in the transaction that reports the session. It is a note in the state directory
until, in one transaction, the memory and its cost are in the outbox (`loops.summaries`): a kill
before that repeats the question, and a kill after it nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import anyio
import orjson

from agent_swarm_worker.aio import Broadcast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.state.directory import StateDir

NOTE = "summary "
"""Begins the names of notes with a requested summary."""
MAX_PENDING = 100
"""Requests that may wait; above it the oldest are dropped."""
SHUTDOWN_WAIT_S = 5.0
"""How long a shutdown waits for summaries under way, within its budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRequest:
    """A session to summarise; all texts are scrubbed."""

    session_uuid: str
    lane: str
    """The task's, or that of the id in its place."""
    task_id: str | None
    name: str
    task_text: str
    transcript: str
    attempts: int = 0


class PendingSummaries:
    """The requested summaries, stored until each is in the outbox or given up."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._ready: deque[SummaryRequest] = deque()
        self.changed = Broadcast()
        self.under_way = 0

    def store(self, request: SummaryRequest) -> None:
        """Store a request; it is carried out after `release`, or at the next start."""
        self._state.note(f"{NOTE}{request.session_uuid}", orjson.dumps(asdict(request)).decode())

    def remove(self, request: SummaryRequest) -> None:
        """Delete a request that was carried out or given up."""
        self._state.remove_note(f"{NOTE}{request.session_uuid}")

    def release(self, request: SummaryRequest | None) -> None:
        """Have a stored request carried out: its session is reported."""
        if request is not None:
            self._ready.append(request)
            self.changed.notify()

    def begin(self, request: SummaryRequest | None) -> None:
        """Store and release a request, unless it is stored: nothing is done twice."""
        if request is None or self._state.noted(f"{NOTE}{request.session_uuid}") is not None:
            return
        self.store(request)
        self.release(request)

    def take_stored(self) -> list[SummaryRequest]:
        """Return all that are stored; drop those beyond the limit, and of other versions."""
        found = []
        for name, value in self._state.notes(NOTE).items():
            try:
                found.append(SummaryRequest(**orjson.loads(value)))
            except (TypeError, ValueError):
                self._state.remove_note(name)
        for old in found[:-MAX_PENDING]:
            self.remove(old)
        self._ready.clear()
        self.under_way += len(found[-MAX_PENDING:])
        return found[-MAX_PENDING:]

    @property
    def has_work(self) -> bool:
        """True if there is a request, of this process or an earlier one."""
        return bool(self._ready or self._state.notes(NOTE))

    def done(self) -> None:
        """Count one less under way."""
        self.under_way -= 1
        self.changed.notify()

    def take(self) -> Iterator[SummaryRequest]:
        """Yield the requests that were released since the last call."""
        while self._ready:
            self.under_way += 1
            yield self._ready.popleft()

    async def wait_idle(self) -> None:
        """Wait until none is under way, at most `SHUTDOWN_WAIT_S`."""
        with anyio.move_on_after(SHUTDOWN_WAIT_S):
            await self.changed.wait_for(lambda: not (self._ready or self.under_way))
