"""Process the output of a session: the base class of every session, in-process ones included.

    line ─▶ scrub ─▶ translate ─▶ journal on disk ─▶ listeners

Only scrubbed text reaches the disk or a listener, and a listener gets a line only after the line's
position in the journal is settled (see the package `journal`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.contract import RawLog, RawStderr, SessionInit, TextTranslator
from agent_swarm_worker.contract.listening import interest_of
from agent_swarm_worker.journal.limit import Weight, weigh
from agent_swarm_worker.journal.records import stderr_record, text_record
from agent_swarm_worker.journal.writer import SessionJournal
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.processes.pipes import decode_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import (
        EventListener,
        ProviderEvent,
        ProviderSessionConfig,
        Translator,
    )
    from agent_swarm_worker.journal.writer import Checkpoint

MAX_BACKLOG = 10_000
"""Events kept until the first listener registers; the next, the text in them."""
MAX_BACKLOG_BYTES = 16 * 1024 * 1024
MAX_STDERR_BYTES = 16 * 1024 * 1024
"""Standard error recorded per session; the rest is dropped."""
STDERR_TAIL_BYTES = 4096


class BaseSession:
    """Scrubs, journals and distributes the output of one session, which `take` is given."""

    def __init__(
        self, config: ProviderSessionConfig, *, clock: Clock, log: Log | None = None
    ) -> None:
        self.config = config
        self.clock = clock
        self.log = (log or Log()).bind(task_id=config.task_id)
        self._listeners: list[EventListener] = []
        self._listeners_of: dict[type, tuple[EventListener, ...]] = {}
        """Cache: the listeners by class of event."""
        self._fallbacks: list[tuple[EventListener, frozenset[type]]] = []
        """Listeners that want a line only if it gave none of their events."""
        self._backlog: list[ProviderEvent] = []
        self._backlog_bytes = 0
        self._session_id: str | None = None
        self.journal = SessionJournal(
            config.log_file, max_bytes=config.journal_max_bytes, log=self.log, sink=config.sink
        )
        self._stderr_bytes = 0
        self._stderr_tail = ""
        self._last_translator: Translator | None = None
        self._text_translator: TextTranslator | None = None
        """The last translator if it is one; cached, as the check is slow."""

    @property
    def session_id(self) -> str | None:
        """The harness's own id of the session; ``None`` until it is known."""
        return self._session_id

    def on_event(self, listener: EventListener) -> None:
        """Register a listener; the first one also gets all earlier events."""
        self._listeners.append(listener)
        self._listeners_of.clear()
        interest = interest_of(listener)
        if interest.lines == "unexplained":
            self._fallbacks.append((listener, interest.kinds or frozenset()))
        backlog, self._backlog = self._backlog, []
        for event in backlog:
            self._call(listener, event)

    def emit(self, event: ProviderEvent) -> None:
        """Pass one event that comes from no line to the listeners."""
        if self.config.sink is not None:
            self.config.sink.received(())
        self._deliver(event)

    def _deliver(self, event: ProviderEvent) -> None:
        kind = type(event)
        listeners = self._listeners_of.get(kind)
        if listeners is None:
            listeners = self._listeners_for(kind)
        if kind is SessionInit:
            self._session_id = event.session_id  # type: ignore[union-attr]
        if not self._listeners:
            self._add_to_backlog(event)
        for listener in listeners:
            self._call(listener, event)

    def take(
        self,
        lines: Sequence[bytes],
        translator: Translator,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Take native lines, without their ends, through scrubbing, translation and journal.

        Args:
            lines: an in-process harness passes its native events as JSON.
            translator: of the harness.
            checkpoint: called with their position in the journal; see `Journal.append`.
        """
        if translator is not self._last_translator:
            self._last_translator = translator
            self._text_translator = translator if isinstance(translator, TextTranslator) else None
        texts = self._text_translator
        if texts is None:
            lines = [line for line in lines if line and not line.isspace()]
        scrubbed = self.config.redactor.json_lines(lines)
        records: list[bytes] = []
        events_of_records: list[list[ProviderEvent]] = []
        admitted: list[bytes] = []
        is_near_limit = self.journal.is_near_limit
        for clean, native in scrubbed:
            is_text = native is None or (texts is not None and texts.is_text(native))
            if is_text:
                events = self._translate(translator.feed_text, decode_line(clean))
            else:
                events = self._translate(translator.feed, native)
            record = clean if native is not None else text_record(clean)
            records.append(record)
            events_of_records.append(events)
            if record and is_near_limit:
                is_json_text = native is not None and is_text
                weight = max(weigh(events), Weight.ORDINARY if is_json_text else Weight.DEBUG)
                admitted += self.journal.admitted(record, weight)
            elif record:
                admitted.append(record)
        self.journal.append(admitted, checkpoint)
        if self.config.sink is not None:
            self.config.sink.received(records)
        has_line_listeners = self._fallbacks or self._listeners_for(RawLog) or not self._listeners
        for record, events in zip(records, events_of_records, strict=True):
            if record and has_line_listeners:
                self._deliver_line(record, events)
            for event in events:
                self._deliver(event)

    def _listeners_for(self, kind: type) -> tuple[EventListener, ...]:
        """Return the listeners of a class of event; for `RawLog`, those of every line."""
        found = self._listeners_of.get(kind)
        if found is None:
            wanting = [(listener, interest_of(listener)) for listener in self._listeners]
            found = self._listeners_of[kind] = tuple(
                listener
                for listener, interest in wanting
                if (
                    interest.lines == "all"
                    if kind is RawLog
                    else interest.kinds is None or kind in interest.kinds
                )
            )
        return found

    def _deliver_line(self, record: bytes, events: Sequence[ProviderEvent]) -> None:
        """Pass a line to the listeners that want it; it is decoded only if there are any."""
        wanting = self._listeners_for(RawLog)
        for listener, kinds in self._fallbacks:
            for event in events:
                if type(event) in kinds:
                    break
            else:
                wanting = (*wanting, listener)
        if not wanting and self._listeners:
            return
        line = RawLog(decode_line(record))
        if not self._listeners:
            self._add_to_backlog(line)
        for listener in wanting:
            self._call(listener, line)

    def _call(self, listener: EventListener, event: ProviderEvent) -> None:
        try:
            listener(event)
        except Exception as error:  # a listener must never break the session
            self.log.error(
                Event.LISTENER_FAILED,
                listener=repr(listener),
                event_type=event.type,
                why=repr(error),
            )

    def take_stderr(
        self, text: bytes, translator: Translator, checkpoint: Checkpoint | None = None
    ) -> None:
        """Record scrubbed standard error: complete lines, joined by newlines."""
        if not text.strip():
            self.journal.append([], checkpoint)
            return
        is_recorded = self._stderr_bytes < MAX_STDERR_BYTES
        self._stderr_bytes += len(text)
        content = decode_line(text)
        self._stderr_tail = (self._stderr_tail + content + "\n")[-STDERR_TAIL_BYTES:]
        if not is_recorded:
            self.journal.append([], checkpoint)
            return
        if self._stderr_bytes >= MAX_STDERR_BYTES:
            content += f"\n[standard error is not recorded beyond {MAX_STDERR_BYTES} bytes]"
        stamp = wire_time(self.clock.now())
        admitted = self.journal.admitted(stderr_record(content, stamp), Weight.DEBUG)
        self.journal.append(admitted, checkpoint)
        self.emit(RawStderr(content))
        for line in content.splitlines():
            for event in self._translate(translator.feed_stderr, line):
                self._deliver(event)

    @property
    def stderr_tail(self) -> str:
        """The last `STDERR_TAIL_BYTES` of standard error."""
        return self._stderr_tail.strip()

    def close_journal(self) -> None:
        """Close the journal, with a record of the lines that were left out."""
        self.journal.close()

    def _add_to_backlog(self, event: ProviderEvent) -> None:
        self._backlog_bytes += len(getattr(event, "content", ""))
        if len(self._backlog) < MAX_BACKLOG and self._backlog_bytes < MAX_BACKLOG_BYTES:
            self._backlog.append(event)

    def _translate(
        self, translate: Callable[[Any], Iterable[ProviderEvent]], native: Any
    ) -> list[ProviderEvent]:
        events: list[ProviderEvent] = []
        try:
            events.extend(translate(native))
        except Exception as error:  # earlier events count; the line is recorded anyway
            self.log.error(Event.TRANSLATE_FAILED, why=repr(error))
        return events
