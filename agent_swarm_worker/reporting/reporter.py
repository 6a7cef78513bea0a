"""Turns one session's events into API writes.

Everything goes through the durable queue, so this is plain synchronous code that cannot wait for
the network. What is left to time, such as log lines and the newest progress label, is done by the
timer in `SessionReporter.run`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.api.wire import cost_body, latest_model_body
from agent_swarm_worker.clock import epoch_ms
from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    Message,
    Progress,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.contract.listening import listens_to
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.reporting.context import ContextReports, Throttle
from agent_swarm_worker.reporting.finish import CostKeeper, has_failed
from agent_swarm_worker.reporting.labels import MAX_LABEL_CHARS, has_label, label
from agent_swarm_worker.reporting.tool_events import MAX_ID_CHARS, ToolEvents
from agent_swarm_worker.reporting.writes import LogTail, SessionWrites
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import CostData, ProviderEvent, ProviderResult, Redactor
    from agent_swarm_worker.contract.listening import ByteRange
    from agent_swarm_worker.reporting.port import SessionFacts, WriteQueue

MAX_LOG_FLUSHES_PER_S = 10
"""What all sessions of a worker share; with ten or fewer each has its full rate. The lines that go
with a session's tool events, every few seconds, are not counted."""


class SessionReporter:
    """Listens to one session and reports it; also the sink that its journal is told to.

    Args:
        facts: whose session it is, and how often to tell what.
        writes: where API writes go.
        clock: time.
        redactor: takes secrets out of what is sent.
        log: the worker's log.
    """

    def __init__(
        self, facts: SessionFacts, *, writes: WriteQueue, clock: Clock, redactor: Redactor, log: Log
    ) -> None:
        self._facts, self._clock, self._redactor, self._log = facts, clock, redactor, log
        self._task_id, self._model = facts.task_id, facts.model
        self._writes = SessionWrites(queue=writes, facts=facts)
        self._tick_s = min(facts.log_flush_s, facts.events_flush_s, facts.progress_interval_s)
        self._logs_at = self._events_at = clock.monotonic()
        self._began_at = self._logs_at - facts.elapsed_s
        self._session: SessionInit | None = None
        self._last_text = ""
        self._says_progress = facts.task_id is not None and not facts.observe_only
        self._closed = False
        self._complaints: set[tuple[str, str]] = set()
        self._costs = CostKeeper()
        self._progress: Throttle[str | ToolStart] = Throttle(
            interval_s=facts.progress_interval_s, send=self._send_progress, clock=clock
        )
        self._events = ToolEvents(
            send=self._writes.events,
            agent_id=facts.agent_id,
            task_id=facts.task_id,
            session_uuid=facts.session_uuid,
            clock=clock,
            scrub=redactor.text,
        )
        self._context = ContextReports(
            send=self._writes.context,
            session_uuid=facts.session_uuid,
            model=facts.model,
            interval_s=facts.context_interval_s,
            clock=clock,
            context_window=facts.context_window,
        )
        self._tail = LogTail(
            path=facts.log_file, start=facts.metadata_bytes, send=self._writes.logs, log=log
        )
        self._takes: dict[type, Callable[[Any], None]] = {
            Message: self._take_message,
            ContextUsage: self._take_usage,
            ToolStart: self._take_tool_start,
            ToolEnd: self._events.tool_ended,
            Progress: self._take_progress,
            Result: self._take_result,
            SessionInit: self._take_session,
            Compaction: self._take_compaction,
        }

    # --- what the worker calls

    @property
    def last_text(self) -> str:
        """The last thing the agent itself said, whole and as it came."""
        return self._last_text

    @property
    def lane(self) -> str:
        """The lane of this task's writes; a finish put there comes after all of them."""
        return self._writes.lane

    @listens_to(
        Message, ContextUsage, ToolStart, ToolEnd, Progress, Result, SessionInit, Compaction
    )
    def on_event(self, event: ProviderEvent) -> None:
        """Take one event. Never raises: a session must not fail for a report."""
        take = self._takes.get(type(event))
        if take is None or self._closed:
            return
        try:
            take(event)
        except Exception as error:
            self._complain(getattr(event, "type", "event"), error)

    # What the session tells of its journal: this is a `SessionSink`.

    def wrote(self, written: ByteRange) -> None:
        """Lines are in the journal."""
        if not self._closed:
            self._guarded("logs", partial(self._tail.wrote, written))

    def switched(self, path: Path, start: int) -> None:
        """The session goes on in another file."""
        if not self._closed:
            self._guarded("logs", partial(self._tail.switched, path, start))

    def heard(self, lines: Sequence[bytes]) -> None:
        """Lines are reported by their place in the journal."""

    def unwritten(self, lines: bytes) -> None:
        """Lines will not be in the journal; those before them that are go first."""
        if not self._closed:
            self._guarded("logs", self._tail.pump)
            self._guarded("logs", partial(self._writes.unwritten, lines))

    async def run(self) -> None:
        """Ship what waits for its time, until cancelled."""
        while True:
            await self._clock.sleep(self._tick_s)
            self._tick()

    def note(self, words: str) -> None:
        """Say something of the worker's own on the task, if progress is still said.

        Unlike progress it is not replaced by what comes after it.
        """
        if self._says_progress:
            self._progress.flush()
            self._guarded("note", lambda: self._writes.note(one_line(words, MAX_LABEL_CHARS)))

    def stop_progress(self) -> None:
        """Say nothing more about progress: a late word would revive a paused or superseded task."""
        self._says_progress = False
        self._progress.drop()

    def close(self, result: ProviderResult, *, owns_task: bool = True) -> None:
        """Send everything that is left. Call once, when the session has ended.

        Args:
            result: how it ended.
            owns_task: false when the task has been taken from this worker meanwhile; then only
                what was really done and spent is told.
        """
        if self._closed:
            return
        self._closed = True
        self.stop_progress()
        self._costs.note(result.cost)
        cost = self._final_cost(result)
        self._guarded("events", lambda: self._end_session(result, cost))
        self._guarded("events", self._tell_events)
        self._guarded("logs", self._tail.finish)
        self._guarded("cost", lambda: self._put_cost(cost))
        if owns_task:
            self._guarded("context", lambda: self._complete_context(cost))
        self._guarded("latest_model", lambda: self._put_latest_model(result, cost))

    # --- events

    def _take_message(self, event: Message) -> None:
        if event.role == "assistant" and not event.subagent and event.content.strip():
            self._last_text = event.content

    def _take_usage(self, event: ContextUsage) -> None:
        if self._task_id is not None:
            self._context.usage(event)

    def _take_tool_start(self, event: ToolStart) -> None:
        tools = self._facts.tools
        if self._says_progress and has_label(event.tool_name, event.args, tools=tools):
            self._progress.offer(event)
        self._events.tool_started(event)

    def _take_progress(self, event: Progress) -> None:
        self._say(one_line(self._redactor.text(event.message), MAX_LABEL_CHARS))

    def _take_result(self, event: Result) -> None:
        self._costs.note(event.cost)

    def _take_compaction(self, event: Compaction) -> None:
        if self._task_id is not None:
            self._context.compaction(event)

    def _say(self, words: str) -> None:
        if words and self._says_progress:
            self._progress.offer(words)

    def _send_progress(self, said: str | ToolStart) -> None:
        """Send words, or what a tool call is about: one label in many is ever sent."""
        if isinstance(said, ToolStart):
            words = label(
                said.tool_name, said.args, scrub=self._redactor.text, tools=self._facts.tools
            )
        else:
            words = said
        if words:
            self._writes.progress(words)

    def _take_session(self, event: SessionInit) -> None:
        if event.model:
            self._model = event.model
            self._context.model_known(event.model)
        known = replace(
            event,
            session_id=one_line(event.session_id, MAX_ID_CHARS),
            provider=self._facts.wire_provider,
            provider_meta=self._plain(event.provider_meta),
            harness_variant_meta=self._plain(event.harness_variant_meta)
            | dict(self._facts.session_meta),
        )
        # Some harnesses introduce the same session again at every turn.
        if known == self._session or not known.session_id:
            return
        is_new = self._session is None or self._session.session_id != known.session_id
        self._session = known
        if is_new or self._task_id is not None:
            self._writes.session(known, model=self._model)
        if is_new:
            self._events.session_started(known.session_id)

    def _plain(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return a scrubbed copy made of plain JSON values, empty if that cannot be done."""
        try:
            copy = orjson.dumps(dict(value), default=str, option=orjson.OPT_NON_STR_KEYS)
        except TypeError:
            return {}
        scrubbed: dict[str, Any] = self._redactor.leaves(orjson.loads(copy))
        return scrubbed

    # --- time

    def _tick(self) -> None:
        now = self._clock.monotonic()
        self._guarded("progress", self._progress.tick)
        self._guarded("context", self._context.tick)
        if now - self._events_at >= self._facts.events_flush_s:
            self._events_at = self._logs_at = now
            self._guarded("events", self._tell_events)
        elif now - self._logs_at >= self._log_interval_s():
            self._logs_at = now
            self._guarded("logs", self._tail.pump)

    def _log_interval_s(self) -> float:
        """Seconds between two flushes of log lines: a request takes lines of one session only."""
        share_s = self._facts.sessions() / MAX_LOG_FLUSHES_PER_S
        return max(self._facts.log_flush_s, share_s)

    def _tell_events(self) -> None:
        """Ship lines and events together, so that after a crash it is known which were told."""
        with self._writes.queue.transaction():
            self._tail.pump()
            self._events.flush()
            self._writes.queue.mark_reported()

    # --- the end

    def _final_cost(self, result: ProviderResult) -> CostData | None:
        cost = self._costs.cost
        if cost is None:
            return None
        return replace(
            cost,
            model=cost.model or self._model,
            provider=cost.provider or self._facts.wire_provider,
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
            session_id=self._facts.session_uuid,
            task_id=self._task_id,
            agent_id=self._facts.agent_id,
            created_at_ms=epoch_ms(self._clock.now()),
        )
        if body is not None:
            self._writes.cost(body)

    def _complete_context(self, cost: CostData | None) -> None:
        if self._task_id is not None:
            self._context.completion(cost)

    def _put_latest_model(self, result: ProviderResult, cost: CostData | None) -> None:
        body = latest_model_body(
            model=cost.model if cost else self._model,
            source=self._facts.model_source,
            task_id=self._task_id,
            harness=self._facts.wire_provider,
            reported_at_ms=epoch_ms(self._clock.now()),
            reasoning_effort=result.applied_reasoning_effort,
        )
        if body is not None:
            self._writes.latest_model(body)

    def _elapsed_ms(self) -> int:
        return round((self._clock.monotonic() - self._began_at) * 1000)

    def _guarded(self, what: str, step: Callable[[], None]) -> None:
        """Run one step; a failure is logged, once per kind, and costs nothing but that step."""
        try:
            step()
        except Exception as error:
            self._complain(what, error)

    def _complain(self, what: str, error: Exception) -> None:
        kind = (what, type(error).__name__)
        if kind not in self._complaints:
            self._complaints.add(kind)
            self._log.error(Event.LISTENER_FAILED, listener=f"reporter: {what}", why=repr(error))
