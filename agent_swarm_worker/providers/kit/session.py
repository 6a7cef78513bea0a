"""The base of every session: what a session says passes through here, once, in one order.

    line ─▶ scrub ─▶ journal on disk ─▶ translate ─▶ listeners

Nothing gets to a listener that is not on disk, and nothing gets to disk that was not scrubbed. An
in-process harness uses the same door as a command line: it hands over its native events as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.contract import Custom, RawLog, RawStderr, SessionInit
from agent_swarm_worker.journal.limit import JournalLimit, Weight, weigh
from agent_swarm_worker.journal.writer import Journal
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.processes.framing import decode_line
from agent_swarm_worker.providers.kit.launch import TextTranslator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import EventListener, ProviderEvent, ProviderSessionConfig
    from agent_swarm_worker.journal.writer import HandOver
    from agent_swarm_worker.providers.kit.launch import Translator

MAX_BACKLOG = 10_000
"""Events kept for a first listener that comes late; the journal has them all anyway."""
MAX_BACKLOG_BYTES = 16 * 1024 * 1024
"""How much text they may have."""
MAX_STDERR_BYTES = 16 * 1024 * 1024
"""Standard error taken into the journal per session; a flood beyond it is counted, not kept."""
STDERR_TAIL_BYTES = 4096


class BaseSession:
    """Fan-out, journal and scrubbing for one session."""

    def __init__(
        self, config: ProviderSessionConfig, *, clock: Clock, log: Log | None = None
    ) -> None:
        self.config = config
        self.clock = clock
        self.log = (log or Log()).bind(task_id=config.task_id)
        self._listeners: list[EventListener] = []
        self._backlog: list[ProviderEvent] = []
        self._backlog_bytes = 0
        self._session_id: str | None = None
        self._journal: Journal | None = None
        self._limit = JournalLimit(config.journal_max_bytes, log=self.log)
        self._stderr_bytes = 0
        self._stderr_tail = ""
        self._last_translator: Translator | None = None
        self._takes_text: TextTranslator | None = None
        """The translator, if it takes text: to find that out takes longer than to take a line."""

    @property
    def session_id(self) -> str | None:
        """The harness's own id of the session, once known."""
        return self._session_id

    def on_event(self, listener: EventListener) -> None:
        """Register a listener; the first one also gets everything emitted so far."""
        self._listeners.append(listener)
        backlog, self._backlog = self._backlog, []
        for event in backlog:
            try:
                listener(event)
            except Exception as error:  # as in `emit`, which is too hot for a call more
                self._complain(listener, event, error)

    def emit(self, event: ProviderEvent) -> None:
        """Hand one event to every listener."""
        if isinstance(event, SessionInit):
            self._session_id = event.session_id
        if not self._listeners:
            self._keep_for_the_first(event)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception as error:  # a listener must never break the session
                self._complain(listener, event, error)

    def take(
        self,
        lines: Sequence[bytes],
        translator: Translator,
        hand_over: HandOver | None = None,
    ) -> None:
        """Take native lines through scrubbing, journal and translation.

        Args:
            lines: without their ends.
            translator: of the harness.
            hand_over: told where in the journal they will be; see `Journal.append`.
        """
        scrub = self.config.redactor.json_line
        if translator is not self._last_translator:
            self._last_translator = translator
            self._takes_text = translator if isinstance(translator, TextTranslator) else None
        words = self._takes_text
        taken = [scrub(line) for line in lines if words or (line and not line.isspace())]
        records = [clean if native is not None else _text_record(clean) for clean, native in taken]
        if self._limit.is_near:
            self._take_sparingly(taken, records, translator, hand_over)
            return
        kept = [record for record in records if record]
        self._limit.took(self.journal.append(kept, hand_over))
        for (clean, native), record in zip(taken, records, strict=True):
            if record:
                self.emit(RawLog(decode_line(record)))
            if native is None or (words is not None and words.is_text(native)):
                self._translate(translator.feed_text, decode_line(clean))
            else:
                self._translate(translator.feed, native)

    def _take_sparingly(
        self,
        taken: list[tuple[bytes, Any]],
        records: list[bytes],
        translator: Translator,
        hand_over: HandOver | None,
    ) -> None:
        """Take lines of which not all can be recorded: they are weighed by what they mean."""
        words = translator if isinstance(translator, TextTranslator) else None
        meanings: list[list[ProviderEvent]] = []
        admitted: list[bytes] = []
        for (clean, native), record in zip(taken, records, strict=True):
            are_words = native is not None and words is not None and words.is_text(native)
            if native is None or are_words:
                events = self._understood(translator.feed_text, decode_line(clean))
            else:
                events = self._understood(translator.feed, native)
            meanings.append(events)
            if record:
                weight = max(weigh(events), Weight.ORDINARY if are_words else Weight.DEBUG)
                admitted += self._limit.admitted(record, weight)
        self._limit.took(self.journal.append(admitted, hand_over))
        for record, events in zip(records, meanings, strict=True):
            if record:
                self.emit(RawLog(decode_line(record)))
            for event in events:
                self.emit(event)

    def take_stderr(
        self, text: bytes, translator: Translator, hand_over: HandOver | None = None
    ) -> None:
        """Take scrubbed standard error: complete lines, joined by newlines; see `take`."""
        if not text.strip():
            self.journal.append([], hand_over)
            return
        kept = self._stderr_bytes < MAX_STDERR_BYTES
        self._stderr_bytes += len(text)
        content = decode_line(text)
        self._stderr_tail = (self._stderr_tail + content + "\n")[-STDERR_TAIL_BYTES:]
        if not kept:
            self.journal.append([], hand_over)
            return
        if self._stderr_bytes >= MAX_STDERR_BYTES:
            content += f"\n[standard error is not recorded beyond {MAX_STDERR_BYTES} bytes]"
        stamp = wire_time(self.clock.now())
        record = orjson.dumps({"type": "stderr", "content": content, "timestamp": stamp})
        admitted = self._limit.admitted(record, Weight.DEBUG)
        self._limit.took(self.journal.append(admitted, hand_over))
        self.emit(RawStderr(content))
        for line in content.splitlines():
            self._translate(translator.feed_stderr, line)

    @property
    def stderr_tail(self) -> str:
        """The end of standard error so far."""
        return self._stderr_tail.strip()

    @property
    def journal(self) -> Journal:
        """The journal in use; opened at first need."""
        if self._journal is None:
            self._journal = self._open_journal(self.config.log_file)
        return self._journal

    def switch_journal(self, path: Path, metadata: dict[str, Any]) -> None:
        """Go on in a new journal; listeners learn of it through a ``session.journal`` event."""
        self._end_journal()
        length = Journal.begin(path, metadata, log=self.log)
        self._journal = self._open_journal(path)
        self.emit(Custom("session.journal", {"path": str(path), "metadata_bytes": length}))

    def close_journal(self) -> None:
        """End the session's record, with a word on what was left out of it."""
        if closing := self._limit.closing():
            self.journal.append(closing)
        self._end_journal()

    def _open_journal(self, path: Path) -> Journal:
        return Journal(path, log=self.log, unwritten=self._tell_unwritten)

    def _end_journal(self) -> None:
        """Close the journal; a later line opens it again."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _tell_unwritten(self, lines: bytes) -> None:
        """Pass on lines that the disk did not take, so that they are told all the same."""
        self.emit(Custom("session.unwritten", {"lines": lines}))

    def _keep_for_the_first(self, event: ProviderEvent) -> None:
        self._backlog_bytes += len(getattr(event, "content", ""))
        if len(self._backlog) < MAX_BACKLOG and self._backlog_bytes < MAX_BACKLOG_BYTES:
            self._backlog.append(event)

    def _translate(self, translate: Callable[[Any], Iterable[ProviderEvent]], native: Any) -> None:
        try:
            for event in translate(native):
                self.emit(event)
        except Exception as error:  # the line is in the journal; the run goes on
            self.log.error(Event.TRANSLATE_FAILED, why=repr(error))

    def _understood(
        self, translate: Callable[[Any], Iterable[ProviderEvent]], native: Any
    ) -> list[ProviderEvent]:
        events: list[ProviderEvent] = []
        try:
            events.extend(translate(native))
        except Exception as error:  # as above; what came before it counts
            self.log.error(Event.TRANSLATE_FAILED, why=repr(error))
        return events

    def _complain(self, listener: EventListener, event: ProviderEvent, error: Exception) -> None:
        self.log.error(
            Event.LISTENER_FAILED,
            listener=repr(listener),
            event_type=event.type,
            why=repr(error),
        )


def _text_record(line: bytes) -> bytes:
    """Wrap a line that is not JSON, so that the journal stays JSON lines; a blank one is none."""
    if not line.strip():
        return b""
    return orjson.dumps({"type": "stdout", "content": decode_line(line)})
