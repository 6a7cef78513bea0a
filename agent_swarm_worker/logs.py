"""Log events of one closed vocabulary with structlog: readable lines on a terminal, else JSON.

Tests and operators depend on the names in `Event`. Each line passes through `scrub`. A line that
cannot be written (disk full, reader gone) is dropped: logging never fails. Lines are written at
once, except a session's output, for which see `LineBuffer`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import logging
import re
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from structlog.typing import WrappedLogger


class Event(StrEnum):
    """Every event the worker logs."""

    # life of the worker
    BOOT_STEP = "boot.step"
    WORKER_STARTED = "worker.started"
    WORKER_DRAINING = "worker.draining"
    WORKER_STOPPED = "worker.stopped"
    SIGNAL_IGNORED = "signal.ignored"
    REGISTERED = "worker.registered"
    CREDENTIALS_MISSING = "credentials.missing"
    CREDENTIALS_READY = "credentials.ready"
    CREDENTIAL_SELECTED = "credential.selected"
    CREDENTIAL_LIMITED = "credential.limited"
    CREDENTIAL_REFRESHED = "credential.refreshed"
    CREDENTIAL_REFUSED = "credential.refused"
    CONFIG_CHANGED = "config.changed"
    CONFIG_IGNORED = "config.ignored"
    FEATURE_OFF = "server.feature_off"
    STATE_DEGRADED = "state.degraded"
    # work
    TRIGGER_RECEIVED = "trigger.received"
    TRIGGER_IGNORED = "trigger.ignored"
    BUDGET_REFUSED = "budget.refused"
    TASK_STARTED = "task.started"
    TASK_FINISHED = "task.finished"
    TASK_CANCELLED = "task.cancelled"
    TASK_LOST = "task.lost"
    OFFER_UNDECIDED = "task.offer_undecided"
    TASK_PAUSED = "task.paused"
    TASK_RECOVERED = "task.recovered"
    TASK_SUPERSEDED = "task.superseded"
    # sessions
    SESSION_STARTED = "session.started"
    SESSION_ENDED = "session.ended"
    SESSION_RESUMED = "session.resumed"
    SESSION_ABORTED = "session.aborted"
    SESSION_SUMMARY = "session.summary"
    SESSION_STALLED = "session.stalled"
    SESSION_HUNG = "session.hung"
    LIMIT_IGNORED = "session.limit_ignored"
    SESSION_OUTPUT = "session.output"
    SESSION_STDERR = "session.stderr"
    LISTENER_FAILED = "session.listener_failed"
    TRANSLATE_FAILED = "session.translate_failed"
    PRICE_UNKNOWN = "session.price_unknown"
    LINE_OVERSIZE = "session.line_oversize"
    JOURNAL_FAILED = "session.journal_failed"
    JOURNAL_LIMITED = "session.journal_limited"
    JOURNAL_REMOVED = "journals.removed"
    TOOL_LOOP = "session.tool_loop"
    KILL_STEP = "process.kill_step"
    PROCESS_SWEPT = "process.swept"
    STEERING = "session.steering"
    PERMISSION = "session.permission"
    # the API
    API_UNREACHABLE = "api.unreachable"
    API_RECOVERED = "api.recovered"
    API_REFUSED = "api.refused"
    WRITE_RETRIED = "outbox.retried"
    WRITE_DROPPED = "outbox.dropped"
    RESULT_REPAIRED = "finish.repaired"
    # surroundings
    PROMPT_FALLBACK = "prompt.fallback"
    REPOSITORY = "workspace.repository"
    SESSION_COMMAND = "session.command"
    IDENTITY = "workspace.identity"
    SKILLS_SYNCED = "skills.synced"
    MCP_CONFIG = "mcp.config"
    SECRET_TOO_SHORT = "secret.too_short"  # noqa: S105 - the name of an event
    # the local swarm
    LOCAL_READY = "local.ready"


class Log:
    """A logger for the events of the vocabulary."""

    def __init__(self, **bound: object) -> None:
        self._bound = bound
        self._log = structlog.get_logger(**bound)

    def bind(self, **values: object) -> Log:
        """Return a logger that adds these values to every line."""
        return Log(**{**self._bound, **values})

    @property
    def shows_info(self) -> bool:
        """False if lines of level info are dropped, so that the caller need not format any."""
        return _configuration.level <= _LEVELS["info"]

    def output(self, event: Event, text: str) -> None:
        """Log one line of a session's output, at level info, through the `LineBuffer`."""
        buffer = _configuration.buffer
        if buffer is None:
            self._log.info(event.value, text=text)
        elif self.shows_info:
            buffer.add(self._bound, event, text)

    def debug(self, event: Event, **values: object) -> None:
        """Log a detail for finding the cause of a problem."""
        self._log.debug(event.value, **values)

    def info(self, event: Event, **values: object) -> None:
        """Log normal operation."""
        self._log.info(event.value, **values)

    def warning(self, event: Event, **values: object) -> None:
        """Log that something was lost, skipped or replaced; the worker continues."""
        self._log.warning(event.value, **values)

    def error(self, event: Event, **values: object) -> None:
        """Log a failure that the operator should look at."""
        self._log.error(event.value, **values)


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MAX_BUFFERED_LINES = 200
"""With this many lines the buffer is flushed before the step ends."""
STAMP_S = 0.001
"""Lines within this time share a timestamp."""
_MARKS = {"debug": "·", "info": "•", "warning": "!", "error": "✗"}


def configure(
    *,
    level: str = "info",
    human: bool | None = None,
    scrub: Callable[[str], str] | None = None,
    stream: TextIO | None = None,
) -> None:
    """Set up logging for the process.

    Args:
        level: the least severe level that is logged: debug, info, warning or error.
        human: readable lines instead of JSON; by default if the stream is a terminal.
        scrub: replaces secrets in each line.
        stream: the output; standard error by default.
    """
    target = stream if stream is not None else sys.stderr
    readable = target.isatty() if human is None else human
    clean = scrub or _unchanged
    render = _render_human if readable else _render_json
    flush()
    buffer = None if readable else LineBuffer(target, clean)
    _configuration.level, _configuration.buffer = _LEVELS.get(level, _LEVELS["info"]), buffer

    def finish(_: WrappedLogger, __: str, values: MutableMapping[str, Any]) -> str:
        # Values are scrubbed before quoting, which can change a secret, and lines again after it.
        return clean(render(values, clean))

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not readable),
            finish,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS.get(level, 20)),
        logger_factory=lambda *_: _Lines(target, buffer),
        cache_logger_on_first_use=False,
    )


class _Lines:
    def __init__(self, stream: TextIO, buffer: LineBuffer | None) -> None:
        self._stream, self._buffer = stream, buffer

    def _write(self, line: str) -> None:
        if self._buffer is not None:
            self._buffer.flush()
        _write(self._stream, f"{line}\n")

    debug = info = warning = error = _write


class LineBuffer:
    """Buffers lines of JSON, and writes them when the event loop's current step ends.

    Without an event loop in this thread a line is written at once.
    """

    def __init__(self, stream: TextIO, scrub: Callable[[str], str]) -> None:
        self._stream, self._scrub = stream, scrub
        self._lines: deque[tuple[dict[str, object], Event, str, str]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop that will write the lines."""
        self._stamp = ""
        self._stamped_at_s = 0.0
        self._lock = threading.Lock()

    def add(self, bound: dict[str, object], event: Event, text: str) -> None:
        """Add one line: the values of its logger, and its own."""
        now_s = time.time()
        if not 0 <= now_s - self._stamped_at_s < STAMP_S:
            self._stamped_at_s = now_s
            self._stamp = datetime.fromtimestamp(now_s, UTC).isoformat().replace("+00:00", "Z")
        self._lines.append((bound, event, text, self._stamp))
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # this thread has none
            self.flush()
            return
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._flush_in_step)
        if len(self._lines) >= MAX_BUFFERED_LINES:
            self.flush()

    def flush(self, *, wait_s: float = -1) -> None:
        """Write the buffered lines.

        Args:
            wait_s: time limit for waiting for another thread that writes; none if negative.
        """
        if not self._lines or not self._lock.acquire(timeout=wait_s):
            return
        try:
            rendered = self._take_rendered()
            joined = "".join(rendered)
            if self._scrub(joined) != joined:  # rare: then each alone, so that lines stay separate
                rendered = [f"{self._scrub(line[:-1])}\n" for line in rendered]
                joined = "".join(rendered)
            if joined.isascii() or _is_encodable(joined, self._stream):
                _write(self._stream, joined)
            else:
                for line in rendered:
                    _write(self._stream, line)
        finally:
            self._lock.release()

    def _take_rendered(self) -> list[str]:
        """Return the buffered lines rendered; their common fields are rendered once."""
        rendered: list[str] = []
        last: tuple[dict[str, object] | None, Event | None, str] = None, None, ""
        head = tail = ""
        while self._lines:
            bound, event, text, stamp = self._lines.popleft()
            if last[0] is not bound or last[1] is not event or last[2] != stamp:
                last = bound, event, stamp
                fields = {**bound, "text": 0, "event": event.value, "level": "info"}
                whole = _render_json({**fields, "timestamp": stamp}, self._scrub)
                head, _, tail = whole.rpartition('"text":0')
                head, tail = f'{head}"text":', f"{tail}\n"
            rendered.append(f"{head}{_quoted(text)}{tail}")
        return rendered

    def _flush_in_step(self) -> None:
        self._loop = None
        self.flush()


class _Configuration:
    level = 0
    buffer: LineBuffer | None = None


_configuration = _Configuration()


def flush(*, wait_s: float = -1) -> None:
    """Write the buffered lines (`LineBuffer.flush`), before a process ends without unwinding."""
    if _configuration.buffer is not None:
        _configuration.buffer.flush(wait_s=wait_s)


atexit.register(flush)


def reset() -> None:
    """Undo `configure`: lines are written to standard output, unscrubbed. For tests."""
    flush()
    _configuration.level, _configuration.buffer = 0, None
    structlog.reset_defaults()


_RAW = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that JSON need not escape, and that a terminal or an editor obeys."""


def _write(stream: TextIO, text: str) -> None:
    if "\x7f" in text or not text.isascii():
        text = _RAW.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    # OSError: disk full, reader gone. ValueError: stream closed, or text that it cannot encode.
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()


def _is_encodable(text: str, stream: TextIO) -> bool:
    encoding, errors = getattr(stream, "encoding", None), getattr(stream, "errors", None)
    try:
        text.encode(encoding or "utf-8", errors or "strict")
    except (LookupError, UnicodeError):
        return False
    return True


def _quoted(text: str) -> str:
    try:
        return orjson.dumps(text).decode()
    except TypeError:  # half a surrogate pair
        return json.dumps(text)


def silence_libraries(*names: str) -> None:
    """Drop the log lines of libraries: they quote foreign text, and are not scrubbed."""
    for name in names:
        logging.getLogger(name).addHandler(logging.NullHandler())


def _unchanged(text: str) -> str:
    return text


def _render_json(values: MutableMapping[str, Any], _: Callable[[str], str]) -> str:
    try:
        return orjson.dumps(values, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # invalid Unicode, an integer beyond 64 bits, a cycle
        shown = {
            key: value if isinstance(value, str) else repr(value) for key, value in values.items()
        }
        return json.dumps(shown)


def _render_human(values: MutableMapping[str, Any], scrub: Callable[[str], str]) -> str:
    clock = str(values.pop("timestamp", ""))[11:19]
    mark = _MARKS.get(str(values.pop("level", "info")), "•")
    event = values.pop("event", "")
    details = "  ".join(
        f"{key}={_printable(scrub(str(value)))}"
        for key, value in values.items()
        if value is not None
    )
    return f"{clock} {mark} {event}  {details}".rstrip()


def _printable(text: str) -> str:
    return text if text.isprintable() and " " not in text else repr(text)
