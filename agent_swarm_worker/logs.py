"""Logging: structlog with one closed vocabulary of event names.

`Event` is the vocabulary. Tests and operators rely on the names, so a new one is added here or not
at all. Lines are readable on a terminal and JSON otherwise; each passes through `scrub` first. A
line that cannot be written (a full disk, a reader that left) is dropped: logging never fails.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
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
    TASK_PAUSED = "task.paused"
    TASK_RECOVERED = "task.recovered"
    TASK_SUPERSEDED = "task.superseded"
    # sessions
    SESSION_STARTED = "session.started"
    SESSION_ENDED = "session.ended"
    SESSION_RESUMED = "session.resumed"
    SESSION_ABORTED = "session.aborted"
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
    IDENTITY = "workspace.identity"
    SKILLS_SYNCED = "skills.synced"
    MCP_CONFIG = "mcp.config"
    SECRET_TOO_SHORT = "secret.too_short"  # noqa: S105 - the name of an event
    # the local swarm
    LOCAL_READY = "local.ready"


class Log:
    """A logger that takes only the vocabulary."""

    def __init__(self, **bound: object) -> None:
        self._log = structlog.get_logger(**bound)

    def bind(self, **values: object) -> Log:
        """Return a logger that adds these values to every line."""
        bound = Log()
        bound._log = self._log.bind(**values)
        return bound

    def debug(self, event: Event, **values: object) -> None:
        """For whoever looks for the cause of something."""
        self._log.debug(event.value, **values)

    def info(self, event: Event, **values: object) -> None:
        """Something an operator wants to see happen."""
        self._log.info(event.value, **values)

    def warning(self, event: Event, **values: object) -> None:
        """Something was lost, skipped or replaced; the worker goes on."""
        self._log.warning(event.value, **values)

    def error(self, event: Event, **values: object) -> None:
        """Something failed that somebody has to look at."""
        self._log.error(event.value, **values)


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
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
        level: the least severe level that is shown: debug, info, warning or error.
        human: readable lines instead of JSON; by default if the stream is a terminal.
        scrub: takes secrets out of each finished line.
        stream: where lines go; standard error by default.
    """
    target = stream if stream is not None else sys.stderr
    readable = target.isatty() if human is None else human
    clean = scrub or _as_it_is
    render = _render_human if readable else _render_json

    def finish(_: WrappedLogger, __: str, values: MutableMapping[str, Any]) -> str:
        # Values are scrubbed before they are quoted, which can change a secret, and lines as well.
        return clean(render(values, clean))

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not readable),
            finish,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS.get(level, 20)),
        logger_factory=lambda *_: _Lines(target),
        cache_logger_on_first_use=False,
    )


class _Lines:
    """Where finished lines go."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _write(self, line: str) -> None:
        # OSError: the disk is full, the reader has gone. ValueError: the stream is closed, or
        # cannot encode the line.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    debug = info = warning = error = _write


def silence_libraries(*names: str) -> None:
    """Keep what libraries log to themselves: it quotes strangers, and nobody has scrubbed it."""
    for name in names:
        logging.getLogger(name).addHandler(logging.NullHandler())


def _as_it_is(text: str) -> str:
    return text


def _render_json(values: MutableMapping[str, Any], _: Callable[[str], str]) -> str:
    try:
        return orjson.dumps(values, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # text that is no Unicode, an integer beyond 64 bits, a cycle
        shown = {
            key: value if isinstance(value, str) else repr(value) for key, value in values.items()
        }
        return json.dumps(shown)


def _render_human(values: MutableMapping[str, Any], scrub: Callable[[str], str]) -> str:
    clock = str(values.pop("timestamp", ""))[11:19]
    mark = _MARKS.get(str(values.pop("level", "info")), "•")
    event = values.pop("event", "")
    details = "  ".join(
        f"{key}={_brief(scrub(str(value)))}" for key, value in values.items() if value is not None
    )
    return f"{clock} {mark} {event}  {details}".rstrip()


def _brief(text: str) -> str:
    """Quote what has spaces, and what could drive a terminal or pass for a line of its own."""
    return text if text.isprintable() and " " not in text else repr(text)
