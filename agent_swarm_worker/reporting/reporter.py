"""Turn one session's events into API writes.

All writes go through the durable queue, so nothing here waits for the network. The timer in
`SessionReporter.run` flushes log lines, tool events and the newest progress text.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.api.wire.bodies import cost_body, latest_model_body, session_body
from agent_swarm_worker.clock import epoch_ms
from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    Message,
    PermissionDecided,
    Progress,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.contract.listening import listens_to
from agent_swarm_worker.journal.files import number
from agent_swarm_worker.journal.reading import range_args, text_args, upload_args
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.reporting.context import ContextReports, Throttle
from agent_swarm_worker.reporting.finish import LatestCost, has_failed
from agent_swarm_worker.reporting.labels import MAX_LABEL_CHARS, decision_line, has_label, label
from agent_swarm_worker.reporting.log_tail import LogTail
from agent_swarm_worker.reporting.port import WORKER_LANE
from agent_swarm_worker.reporting.tool_events import MAX_ID_CHARS, ToolEvents
from agent_swarm_worker.text import one_line, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import CostData, ProviderEvent, ProviderResult, Redactor
    from agent_swarm_worker.contract.listening import ByteRange
    from agent_swarm_worker.reporting.port import SessionInfo, WriteQueue

PROGRESS_INTERVAL_S = 3.0
MAX_POSTS_PER_S = 5.0
"""Of logs and of progress, by all sessions of a worker together: with more sessions each waits
longer and sends more at once."""
MAX_EVENT_POSTS_PER_S = 2.5
MAX_SHARED_INTERVAL_S = 30.0
"""How long at most a session waits because of the others."""
MAX_UNWRITTEN_BYTES = 256 * 1024
"""Limit of one write of lines that are in no journal; the queue stores those."""


class SessionReporter:
    """Listens to one session and reports it; also the `SessionSink` of its journal."""

    def __init__(
        self, info: SessionInfo, *, writes: WriteQueue, clock: Clock, redactor: Redactor, log: Log
    ) -> None:
        self._info, self._clock, self._redactor, self._log = info, clock, redactor, log
        self._task_id, self._model = info.task_id, info.model
        self._writes = writes
        self._logged_bytes = 0
        self._tick_s = min(info.log_flush_s, info.events_flush_s, PROGRESS_INTERVAL_S)
        self._logs_at = self._events_at = clock.monotonic()
        self._began_at = self._logs_at - info.elapsed_s
        self._session: SessionInit | None = None
        self._last_text = ""
        self._sends_progress = info.task_id is not None and not info.observe_only
        self._closed = False
        self._logged_errors: set[tuple[str, str]] = set()
        self._costs = LatestCost()
        self._decisions: list[bytes] = []
        """Lines about permissions, until the next events are sent."""
        self._progress: Throttle[str | ToolStart] = Throttle(
            interval_s=partial(self._interval_s, PROGRESS_INTERVAL_S),
            send=self._send_progress,
            clock=clock,
        )
        self._events = ToolEvents(
            send=self._put_events,
            agent_id=info.agent_id,
            task_id=info.task_id,
            session_uuid=info.session_uuid,
            clock=clock,
            scrub=redactor.text,
            tools=info.tools,
        )
        self._context = ContextReports(
            send=self._put_context,
            session_uuid=info.session_uuid,
            model=info.model,
            clock=clock,
            context_window=info.context_window,
        )
        self._tail = LogTail(
            path=info.log_file, start=info.metadata_bytes, send=self._put_range, log=log
        )
        self.received: Callable[[Sequence[bytes]], None] = lambda _lines: None
        """Gets the lines of the session; they are reported by their range in the journal."""
        self._takes: dict[type, Callable[[Any], None]] = {
            Message: self._take_message,
            ToolStart: self._take_tool_start,
            ToolEnd: self._events.tool_ended,
            PermissionDecided: self._take_decision,
            Progress: self._take_progress,
            Result: lambda event: self._costs.add(event.cost),
            SessionInit: self._take_session,
        }
        if info.task_id is not None:
            self._takes |= {ContextUsage: self._context.usage, Compaction: self._context.compaction}

    @property
    def last_text(self) -> str:
        """The agent's last message, unscrubbed."""
        return self._last_text

    @listens_to(
        *(Message, ContextUsage, ToolStart, ToolEnd, Progress, Result, SessionInit, Compaction),
        PermissionDecided,
    )
    def on_event(self, event: ProviderEvent) -> None:
        """Report one event. Never raises: a session must not fail for a report."""
        take = self._takes.get(type(event))
        if take is None or self._closed:
            return
        try:
            take(event)
        except Exception as error:
            self._log_error(getattr(event, "type", "event"), error)

    def wrote(self, written: ByteRange) -> None:
        """Put the range of new lines of the journal."""
        if not self._closed:
            self._guarded("logs", partial(self._tail.wrote, written))

    def switched(self, path: Path, start: int) -> None:
        """Continue with another journal file."""
        if not self._closed:
            self._guarded("logs", partial(self._tail.switched, path, start))

    def unwritten(self, lines: bytes) -> None:
        """Put lines that will not be in the journal, behind those that are."""
        if not self._closed:
            self._guarded("logs", self._tail.pump)
            self._guarded("logs", partial(self._put_unwritten, lines))

    async def run(self) -> None:
        """Flush waiting reports when they are due, until cancelled."""
        while True:
            await self._clock.sleep(self._tick_s)
            self._tick()

    def note(self, text: str) -> None:
        """Put a note of the worker on the task; the next progress text does not replace it."""
        if self._sends_progress:
            self._progress.flush()
            self._guarded(
                "note", lambda: self._put_text(WriteKind.NOTE, one_line(text, MAX_LABEL_CHARS))
            )

    def stop_progress(self) -> None:
        """Send no more progress: a late text would revive a paused or superseded task."""
        self._sends_progress = False
        self._progress.drop()

    def close(self, result: ProviderResult, *, owns_task: bool = True) -> None:
        """Put all remaining reports, when the session has ended.

        If the task was taken from this worker, only logs, events, cost and model are reported.
        """
        if self._closed:
            return
        self._closed = True
        self.stop_progress()
        self._costs.add(result.cost)
        cost = self._final_cost(result)
        self._guarded("events", lambda: self._end_session(result, cost))
        self._guarded("events", self._flush_events)
        self._guarded("logs", self._tail.finish)
        self._guarded("cost", lambda: self._put_cost(cost))
        if owns_task and self._task_id is not None:
            self._guarded("context", partial(self._context.completion, cost))
        self._guarded("latest_model", lambda: self._put_latest_model(result, cost))

    def _take_message(self, event: Message) -> None:
        if event.role == "assistant" and not event.subagent and event.content.strip():
            self._last_text = event.content

    def _take_tool_start(self, event: ToolStart) -> None:
        tools = self._info.tools
        if self._sends_progress and has_label(event.tool_name, event.args, tools=tools):
            self._progress.offer(event)
        self._events.tool_started(event)

    def _take_decision(self, event: PermissionDecided) -> None:
        """Report a decision with the end of its call, and as a line of the session's log."""
        self._events.decided(event)
        self._decisions.append(decision_line(event, self._redactor.text))

    def _take_progress(self, event: Progress) -> None:
        text = one_line(self._redactor.text(plain(event.message)), MAX_LABEL_CHARS)
        if text and self._sends_progress:
            self._progress.offer(text)

    def _send_progress(self, source: str | ToolStart) -> None:
        """Put a progress text. A tool call gets its label here, since few labels are ever sent."""
        text: str | None
        if isinstance(source, ToolStart):
            scrub, tools = self._redactor.text, self._info.tools
            text = label(
                source.tool_name, source.args, scrub=scrub, tools=tools, helper=source.helper
            )
        else:
            text = source
        if text:
            self._put_text(WriteKind.PROGRESS, text)

    def _take_session(self, event: SessionInit) -> None:
        if event.model:
            self._model = event.model
            self._context.model_known(event.model)
        known = replace(
            event,
            session_id=one_line(event.session_id, MAX_ID_CHARS),
            provider=self._info.wire_provider,
            provider_meta=self._plain(event.provider_meta),
            harness_variant_meta=self._plain(event.harness_variant_meta)
            | dict(self._info.session_meta),
        )
        # Some harnesses report the same session at every turn.
        if known == self._session or not known.session_id:
            return
        is_new = self._session is None or self._session.session_id != known.session_id
        self._session = known
        if is_new or self._task_id is not None:
            self._put_session(known)
        if is_new:
            self._events.session_started(known.session_id)

    def _plain(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return a scrubbed copy of JSON values; empty if there is none."""
        try:
            copy = orjson.dumps(dict(value), default=str, option=orjson.OPT_NON_STR_KEYS)
        except TypeError:
            return {}
        scrubbed: dict[str, Any] = self._redactor.leaves(orjson.loads(copy))
        return scrubbed

    def _tick(self) -> None:
        now = self._clock.monotonic()
        self._guarded("progress", self._progress.tick)
        self._guarded("context", self._context.tick)
        if now - self._events_at >= self._interval_s(
            self._info.events_flush_s, MAX_EVENT_POSTS_PER_S
        ):
            self._events_at = self._logs_at = now
            self._guarded("events", self._flush_events)
        elif now - self._logs_at >= self._interval_s(self._info.log_flush_s):
            self._logs_at = now
            self._guarded("logs", self._tail.pump)

    def _interval_s(self, usual_s: float, max_per_s: float = MAX_POSTS_PER_S) -> float:
        """Return the seconds between two posts of one kind: a request has one session's only."""
        share_s = self._info.sessions() / max_per_s
        return max(usual_s, min(share_s, MAX_SHARED_INTERVAL_S))

    def _flush_events(self) -> None:
        """Put lines and events in one transaction, so that a crash keeps both or neither."""
        with self._writes.transaction():
            self._tail.pump()
            lines, self._decisions = b"".join(self._decisions), []
            self._put_unwritten(lines)
            self._events.flush()
            self._writes.mark_reported()

    def _final_cost(self, result: ProviderResult) -> CostData | None:
        cost = self._costs.cost
        if cost is None:
            return None
        return replace(
            cost,
            model=cost.model or self._model,
            provider=cost.provider or self._info.wire_provider,
            duration_ms=self._elapsed_ms() if cost.duration_ms is None else cost.duration_ms,
            is_error=has_failed(result),
        )

    def _end_session(self, result: ProviderResult, cost: CostData | None) -> None:
        duration_ms = cost.duration_ms if cost and cost.duration_ms else self._elapsed_ms()
        self._events.session_ended(is_error=has_failed(result), duration_ms=duration_ms, cost=cost)

    def _put_cost(self, cost: CostData | None) -> None:
        if cost is None:
            return
        body = cost_body(
            cost,
            session_id=self._info.session_uuid,
            task_id=self._task_id,
            agent_id=self._info.agent_id,
            created_at_ms=epoch_ms(self._clock.now()),
        )
        if body is not None:
            self._put(WriteKind.COST, body)

    def _put_latest_model(self, result: ProviderResult, cost: CostData | None) -> None:
        body = latest_model_body(
            model=cost.model if cost else self._model,
            source=self._info.model_source,
            task_id=self._task_id,
            harness=self._info.wire_provider,
            reported_at_ms=epoch_ms(self._clock.now()),
            reasoning_effort=result.applied_reasoning_effort,
        )
        if body is not None:
            args = {"agent_id": self._info.agent_id, "latest_model": body}
            if (status := self._info.cred_status(result)) is not None:
                args["cred_status"] = dict(status)
            self._writes.put(WORKER_LANE, WriteKind.LATEST_MODEL, args)

    def _put(self, kind: WriteKind, args: dict[str, Any]) -> None:
        self._writes.put(self._info.effective_id, kind, args)

    def _put_text(self, kind: WriteKind, text: str) -> None:
        self._put(kind, {"task_id": self._task_id, "text": text})

    def _put_context(self, snapshot: dict[str, Any]) -> None:
        self._put(WriteKind.CONTEXT, {"task_id": self._task_id, "snapshot": snapshot})

    def _put_session(self, init: SessionInit) -> None:
        """Put the harness's session on the task, or on the active session if there is no task."""
        if self._task_id is not None:
            session = session_body(init, model=self._model)
            self._put(WriteKind.SESSION, {"task_id": self._task_id, "session": session})
        else:
            args = {"task_id": self._info.effective_id, "provider_session_id": init.session_id}
            self._put(WriteKind.PROVIDER_SESSION, args)

    def _put_events(self, events: list[bytes]) -> None:
        batch = orjson.Fragment(b"[%b]" % b",".join(events))
        self._put(WriteKind.EVENTS, {"events": batch})

    def _put_range(self, path: Path, lines: ByteRange) -> None:
        self._put_lines(range_args(path, lines), lines.end - lines.start)

    def _put_unwritten(self, lines: bytes) -> None:
        while lines:
            size = lines.rfind(b"\n", 0, MAX_UNWRITTEN_BYTES) + 1 or lines.find(b"\n") + 1
            part = lines[: size or len(lines)]
            self._put_lines(text_args(part), len(part))
            lines = lines[len(part) :]

    def _put_lines(self, where: dict[str, Any], size: int) -> None:
        args = upload_args(
            task_id=self._task_id,
            session_uuid=self._info.session_uuid,
            number=number(self._info.iteration, self._logged_bytes),
            harness=self._info.harness,
        )
        self._put(WriteKind.LOGS, args | where)
        self._logged_bytes += size

    def _elapsed_ms(self) -> int:
        return round((self._clock.monotonic() - self._began_at) * 1000)

    def _guarded(self, name: str, step: Callable[[], None]) -> None:
        """Run one step; log its failure, once per kind, and go on."""
        try:
            step()
        except Exception as error:
            self._log_error(name, error)

    def _log_error(self, name: str, error: Exception) -> None:
        kind = (name, type(error).__name__)
        if kind not in self._logged_errors:
            self._logged_errors.add(kind)
            self._log.error(Event.LISTENER_FAILED, listener=f"reporter: {name}", why=repr(error))
