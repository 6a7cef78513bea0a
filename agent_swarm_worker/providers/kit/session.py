"""Process the output of a session: the base class of every session, in-process ones included.

    line ─▶ scrub ─▶ translate ─▶ journal on disk ─▶ listeners

Only scrubbed text reaches the disk or a listener, and a listener gets a line only after the line's
position in the journal is settled (see the package `journal`). Text reaches the translator without
terminal sequences. A line that is not JSON is searched for the objects in it (`lenient_json`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.contract import RawLog, RawStderr, SessionInit, TextTranslator, ToolEnd
from agent_swarm_worker.contract.listening import interest_of
from agent_swarm_worker.journal.limit import Weight, weigh
from agent_swarm_worker.journal.records import stderr_record, text_record
from agent_swarm_worker.journal.writer import SessionJournal
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.processes.pipes import decode_line
from agent_swarm_worker.providers.kit.lenient_json import (
    ends_with_result,
    is_server_sent,
    parts_of,
    starts_with_object,
    without_contradiction,
)
from agent_swarm_worker.providers.kit.native import tells_failure
from agent_swarm_worker.providers.kit.permissions import ReportedGate
from agent_swarm_worker.text import plain, plain_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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


_NO_TYPE = ""
_MAY_CONTRADICT = frozenset({"result", _NO_TYPE})


def _settled(line: bytes, native: Any) -> tuple[bytes, Any]:
    """Return a line and its value without repeated keys that contradict each other."""
    if isinstance(native, dict) and "method" in native:
        return line, native
    settled = without_contradiction(line, native)
    if settled is native or settled == native:
        return line, native
    if not (isinstance(native, dict) and isinstance(settled, dict)):
        return json.dumps(settled).encode(), settled
    # The line may have words of the protocol scrubbed, which the value has not.
    told = {
        key: value
        for key, value in settled.items()
        if key in native and tells_failure(key, value) and not tells_failure(key, native[key])
    }
    return (json.dumps(settled).encode(), {**native, **told}) if told else (line, native)


class BaseSession:
    """Scrubs, journals and distributes the output of one session, which `take` is given."""

    def __init__(
        self, config: ProviderSessionConfig, *, clock: Clock, log: Log | None = None
    ) -> None:
        self._gate: ReportedGate | None = None
        if config.permissions is not None:
            self._gate = ReportedGate(config.permissions, self.emit, config.redactor)
            config = replace(config, permissions=self._gate)
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
        self.breach: str | None = None
        """The first denied call that ran anyway; with it no session has succeeded."""
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
        breach = None
        if self._gate is not None and isinstance(event, ToolEnd):
            event, breach = self._gate.ended(event)
        if not self._listeners:
            self._add_to_backlog(event)
        for listener in listeners:
            self._call(listener, event)
        if breach is not None:
            self.breach = self.breach or breach.message
            self.log.error(Event.PERMISSION, why=breach.message)
            self.emit(breach)
            self.stop(breach.message)

    def stop(self, reason: str) -> None:
        """End the session soon; a subclass that runs something overrides it."""

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
        json_texts: set[int] = set()
        """Indexes of records of JSON that is text."""
        more = 0
        """Records beyond one a line."""
        for clean, native in scrubbed:
            if native is None:
                line = lines[len(records) - more]
                for record, events in self._unreadable(line, clean, translator):
                    records.append(record)
                    events_of_records.append(events)
                    more += 1
                more -= 1
                continue
            if type(native) is not dict or native.get("type", _NO_TYPE) in _MAY_CONTRADICT:
                clean, native = _settled(clean, native)  # noqa: PLW2901
            if texts is not None and texts.is_text(native):
                json_texts.add(len(records))
                events = self._translate(translator.feed_text, decode_line(clean))
            else:
                events = self._translate(translator.feed, native)
            records.append(clean)
            events_of_records.append(events)
        self.journal.append(self._admitted(records, events_of_records, json_texts), checkpoint)
        if self.config.sink is not None:
            self.config.sink.received(records)
        has_line_listeners = self._fallbacks or self._listeners_for(RawLog) or not self._listeners
        for record, events in zip(records, events_of_records, strict=True):
            if record and has_line_listeners:
                self._deliver_line(record, events)
            for event in events:
                self._deliver(event)

    def _unreadable(
        self, line: bytes, clean: bytes, translator: Translator
    ) -> Iterator[tuple[bytes, list[ProviderEvent]]]:
        """Translate a line that is no JSON, by the parts of it that are; yield its records.

        `clean` is the line, scrubbed as text. Each part is scrubbed by itself.
        """
        parts = self._parts(line) or [(clean, None)]
        for content, native in parts:
            if native is not None:
                content, native = _settled(content, native)  # noqa: PLW2901
                yield content, self._translate(translator.feed, native)
            else:
                text = self._plain(plain_line, decode_line(content))
                yield text_record(content), self._translate(translator.feed_text, text)

    def _parts(self, line: bytes) -> list[tuple[bytes, Any]]:
        """Return the objects in a line and the text around them, scrubbed; empty for mere text."""
        if b"{" not in line:
            return []
        texts = self._text_translator
        # No object is text once the first event has come (`{}` is none).
        may_be_text = texts is not None and texts.is_text({})
        is_first = not may_be_text or starts_with_object(line) or is_server_sent(line)
        if not (is_first or ends_with_result(line)):
            return []
        found = parts_of(line)
        if not is_first and not (found and found[-1].is_json):
            return []
        scrubbed = self.config.redactor.json_lines([part.content for part in found])
        parts = [(one, part.is_json) for one, part in zip(scrubbed, found, strict=True)]
        natives = [native for (_, native), is_json in parts if is_json]
        if any(native is None for native in natives):
            return []
        if texts is not None and all(map(texts.is_text, natives)):
            return []
        return [(clean, native if is_json else None) for (clean, native), is_json in parts]

    def _plain(self, make_plain: Callable[[str], str], text: str) -> str:
        """Return scrubbed text as plain text; what that joins is scrubbed again."""
        shown = make_plain(text)
        return text if shown is text else self.config.redactor.text(shown)

    def _admitted(
        self,
        records: Sequence[bytes],
        events_of_records: Sequence[Sequence[ProviderEvent]],
        json_texts: set[int],
    ) -> list[bytes]:
        """Return the records that fit into the journal, and the notes of those that do not."""
        if not self.journal.is_near_limit:
            return [record for record in records if record]
        admitted: list[bytes] = []
        for number, (record, events) in enumerate(zip(records, events_of_records, strict=True)):
            least = Weight.ORDINARY if number in json_texts else Weight.DEBUG
            if record:
                admitted += self.journal.admitted(record, max(weigh(events), least))
        return admitted

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
        shown = self._plain(plain, content)
        self._stderr_tail = (self._stderr_tail + shown + "\n")[-STDERR_TAIL_BYTES:]
        if not is_recorded:
            self.journal.append([], checkpoint)
            return
        if self._stderr_bytes >= MAX_STDERR_BYTES:
            content += f"\n[standard error is not recorded beyond {MAX_STDERR_BYTES} bytes]"
        stamp = wire_time(self.clock.now())
        admitted = self.journal.admitted(stderr_record(content, stamp), Weight.DEBUG)
        self.journal.append(admitted, checkpoint)
        self.emit(RawStderr(content))
        for line in shown.splitlines():
            for event in self._translate(translator.feed_stderr, line):
                self._deliver(event)

    @property
    def stderr_tail(self) -> str:
        """The last `STDERR_TAIL_BYTES` of standard error."""
        return self._stderr_tail.strip()

    def close_journal(self) -> None:
        """Close the journal, with a record of the lines that were left out; allow nothing more."""
        if self._gate is not None:
            self._gate.close()
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
