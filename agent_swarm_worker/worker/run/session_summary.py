"""Request the summary of a session that has ended, with its transcript (docs/api.md 15.5)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.contract import Message, ToolEnd, ToolStart
from agent_swarm_worker.contract.listening import listens_to
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.guards.rate_limits import LIMITS
from agent_swarm_worker.logs import Event
from agent_swarm_worker.settings import named
from agent_swarm_worker.text import clip, one_line, plain
from agent_swarm_worker.worker.boot.environment import with_lent_login
from agent_swarm_worker.worker.run.pending_summaries import SummaryRequest

if TYPE_CHECKING:
    from agent_swarm_worker.contract import (
        HarnessSpec,
        ProviderEvent,
        ProviderResult,
        Redactor,
        Service,
    )
    from agent_swarm_worker.worker.boot.parts import Core

MAX_TRANSCRIPT_CHARS = 20_000
MAX_CALL_CHARS = 500
MIN_TRANSCRIPT_CHARS = 100
MAX_TASK_CHARS = 2000
MAX_NAME_CHARS = 80
SCRUBBED_CHARS = 64 * 1024
"""The part of each text that is kept until it is scrubbed: more than any secret."""


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
    if not makes_summaries(worker):
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


def makes_summaries(worker: Core) -> bool:
    """True if sessions are summarised: the operator wants it, and something can be asked.

    Never raises: an error here must not reach the task.
    """
    try:
        return not worker.settings.skip_session_summary and bool(services_for(worker))
    except Exception as error:
        worker.log.error(Event.SESSION_SUMMARY, why=repr(error))
        return False


def services_for(worker: Core) -> list[tuple[HarnessSpec, Service]]:
    """Return what a summary can be made with, in the order of docs/api.md 15.5."""
    env = worker.harness_env()
    found: dict[str, tuple[HarnessSpec, Service]] = {}
    for spec in worker.harness.all_specs:
        own = with_lent_login(spec, env)
        for service in spec.credentials.services:
            if service.small_model and named(own, service.variable).strip():
                found.setdefault(service.variable, (spec, service))
    return sorted(found.values(), key=lambda pair: pair[1].rank)
