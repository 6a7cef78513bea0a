"""Request the summary of a session that has ended (docs/api.md 15.5): its transcript, its record.

A request is stored in the transaction that reports the session. It is a note in the state directory
until, in one transaction, the memory and its cost are in the outbox (`loops.summaries`): a kill
before that repeats the question, and a kill after it nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from agent_swarm_worker.aio import Broadcast
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.contract import Message, ToolEnd, ToolStart
from agent_swarm_worker.contract.listening import listens_to
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.guards.rate_limits import LIMITS
from agent_swarm_worker.logs import Event
from agent_swarm_worker.settings import named
from agent_swarm_worker.text import clip, one_line, plain
from agent_swarm_worker.worker.boot.environment import with_lent_login

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.contract import (
        HarnessSpec,
        ProviderEvent,
        ProviderResult,
        Redactor,
        Service,
    )
    from agent_swarm_worker.state.directory import StateDir
    from agent_swarm_worker.worker.boot.parts import Core

NOTE = "summary "
"""Begins the names of notes with a requested summary."""
MAX_TRANSCRIPT_CHARS = 20_000
MAX_CALL_CHARS = 500
MIN_TRANSCRIPT_CHARS = 100
MAX_TASK_CHARS = 2000
MAX_NAME_CHARS = 80
SCRUBBED_CHARS = 64 * 1024
"""The part of each text that is kept until it is scrubbed: more than any secret."""
MAX_PENDING = 100
"""Requests that may wait; above it the oldest are dropped."""
SHUTDOWN_WAIT_S = 5.0
"""How long a shutdown waits for summaries under way, within its budget."""


class Transcript:
    """Listens to a session and keeps the end of what was said and done."""

    def __init__(self) -> None:
        self._parts: deque[tuple[str, str, int]] = deque()
        """Label, text and the most characters of each event."""
        self._chars = 0

    @listens_to(Message, ToolStart, ToolEnd)
    def on_event(self, event: ProviderEvent) -> None:
        """Keep one event; those before the last `MAX_TRANSCRIPT_CHARS` characters go."""
        if isinstance(event, Message):
            text, limit = event.content[-SCRUBBED_CHARS:].strip(), MAX_TRANSCRIPT_CHARS
            label = event.role.capitalize()
        elif isinstance(event, ToolStart):
            text, limit = _as_text(event.args), MAX_CALL_CHARS
            label = f"Tool[{event.tool_name}] started"
        elif isinstance(event, ToolEnd):
            text, limit = _as_text(event.result), MAX_CALL_CHARS
            how = "failed" if event.is_error else "completed"
            label = f"Tool[{event.tool_name}] {how}"
        else:
            return
        if not text:
            return
        self._parts.append((label, text, limit))
        self._chars += min(len(text), limit)
        while self._chars > 2 * MAX_TRANSCRIPT_CHARS:
            _, gone, limit = self._parts.popleft()
            self._chars -= min(len(gone), limit)

    def text(self, redactor: Redactor) -> str:
        """Return its end without secrets; cut only behind what was scrubbed."""
        scrubbed = (
            f"{label}: {self._cut(redactor.text(plain(text)), limit)}"
            for label, text, limit in self._parts
        )
        return redactor.text("\n".join(scrubbed))[-MAX_TRANSCRIPT_CHARS:]

    @staticmethod
    def _cut(text: str, limit: int) -> str:
        return text[-limit:] if limit == MAX_TRANSCRIPT_CHARS else text[:limit]


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value[:SCRUBBED_CHARS]
    try:
        data = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return ""
    return data[:SCRUBBED_CHARS].decode("utf-8", "replace")


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


def requested_summary(worker: Core, **facts: Any) -> SummaryRequest | None:
    """Do as `_requested`; an error in it must not reach the task."""
    try:
        return _requested(worker, **facts)
    except Exception as error:
        worker.log.error(Event.SESSION_SUMMARY, task=facts["lane"], why=repr(error))
        return None


def _requested(
    worker: Core,
    *,
    session_uuid: str,
    task_id: str | None,
    lane: str,
    text: str,
    transcript: Transcript,
    result: ProviderResult,
    redactor: Redactor,
) -> SummaryRequest | None:
    """Return the request for a session that ended by itself; ``None`` if it gets no summary.

    So is one that failed, unless its model was refused: then it tells nothing.
    """
    if worker.settings.skip_session_summary or not services_for(worker):
        return None
    if result.is_error:
        kind = classify_error(result.failure_reason or "", category=result.error_category)
        if kind in LIMITS or kind is ErrorClass.AUTHENTICATION_FAILED:
            return None
    said = transcript.text(redactor)
    if len(said) <= MIN_TRANSCRIPT_CHARS:
        return None
    clean = redactor.text(plain(text))
    what = one_line(clean, MAX_NAME_CHARS) or wire_time(worker.clock.now())[:16]
    return SummaryRequest(
        session_uuid=session_uuid,
        lane=lane,
        task_id=task_id,
        name=f"Session: {what}",
        task_text=clip(clean, MAX_TASK_CHARS),
        transcript=said,
    )


def services_for(worker: Core) -> list[tuple[HarnessSpec, Service]]:
    """Return what a summary can be made with, in the order of docs/api.md 15.5."""
    env = worker.environment.values()
    found: dict[str, tuple[HarnessSpec, Service]] = {}
    for spec in worker.harness.all_specs:
        own = with_lent_login(spec, env)
        for service in spec.credentials.services:
            if service.small_model and named(own, service.variable).strip():
                found.setdefault(service.variable, (spec, service))
    return sorted(found.values(), key=lambda pair: pair[1].rank)
