"""What the output of an arbitrary program means.

===========  ====================================================================================
stream-json  claude-style events; success only with a final ``result`` that says so
jsonl        normalized events, or any JSON; success by its ``result``, else by exit code
text         plain words: each line is shown, all of them are the output; success by exit code
auto         text until the first JSON object that is an event, whose shape then decides
===========  ====================================================================================

Read normalized events as a program of the user's own may print them.

A program may simply print ``{"type": "tool_start", "toolName": "build", …}``. Names are accepted
in camelCase and in snake_case, some under a second name. An optional field of the wrong type
counts as missing; an event without what it needs is none, and left to the log.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from agent_swarm_worker.contract import InvalidEvent, Message, Progress, Result, event_from_dict
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.providers.kit.launch import JsonTranslator
from agent_swarm_worker.providers.kit.native import number
from agent_swarm_worker.providers.kit.outcome import ABORTED_EXIT, Failure, concluded
from agent_swarm_worker.providers.subprocess.spec import SPEC

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.contract import ProviderEvent, ProviderResult
    from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
    from agent_swarm_worker.providers.kit.launch import Ending, Translator

OutputMode: TypeAlias = Literal["auto", "stream-json", "jsonl", "text"]

MAX_TEXT_OUTPUT = 30_000
"""Characters of plain text kept as the task's output; the end is what matters."""
MAX_REASON_CHARS = 2000
"""How much of what a program said last is quoted when it fails."""

_CLAUDE_TYPES = frozenset({"system", "assistant", "user", "stream_event", "rate_limit_event"})


class SubprocessTranslator:
    """Decides how a program speaks, then listens that way."""

    def __init__(self, mode: OutputMode, claude: ClaudeTranslator) -> None:
        self._claude = claude
        self._words = _Words()
        self._listens: Translator | None = None
        if mode == "stream-json":
            self._listens = claude
        elif mode == "jsonl":
            self._listens = JsonLinesTranslator(self._words)
        self._decides = mode == "auto"

    def is_text(self, native: Any) -> bool:
        """True for JSON that is no event, as long as no event has come."""
        if self._listens is None and self._decides:
            self._listens = self._choose(native)
        return self._listens is None

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Take one JSON line that is not text."""
        return () if self.is_text(native) or self._listens is None else self._listens.feed(native)

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:
        """Take one line as it is."""
        if self._listens is not None:
            return self._listens.feed_text(line)
        return self._words.add(line)

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:
        """Take one line of standard error."""
        return self._listens.feed_stderr(line) if self._listens is not None else ()

    @property
    def is_final(self) -> bool:
        """True once the program said its last word; plain text has none."""
        return self._listens is not None and self._listens.is_final

    def conclude(self, ending: Ending) -> ProviderResult:
        """Say how the session went."""
        if self._listens is not None:
            return self._listens.conclude(ending)
        return _by_exit_code(ending, self._words.text)

    def _choose(self, native: Any) -> Translator | None:
        kind = native.get("type") if isinstance(native, dict) else None
        if not isinstance(kind, str):
            return None
        if kind in _CLAUDE_TYPES or (kind == "result" and "subtype" in native):
            return self._claude
        return JsonLinesTranslator(self._words) if kind in NORMALIZED_TYPES else None


class JsonLinesTranslator(JsonTranslator):
    """Listens to normalized events; other JSON goes to the log alone."""

    def __init__(self, words: _Words) -> None:
        self._result: Result | None = None
        self._last_message = ""
        self._words = words
        self._is_silent = True

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Take one JSON line."""
        self._is_silent = False
        event = read_normalized(native)
        if event is None:
            return ()
        if isinstance(event, Result):
            self._result = event
        elif isinstance(event, Message) and event.role == "assistant" and event.content.strip():
            self._last_message = event.content
        return (event,)

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:
        """A stray line between the events; the output only if nothing else is."""
        return self._words.add(line)

    @property
    def is_final(self) -> bool:
        """True once a ``result`` was seen."""
        return self._result is not None

    def conclude(self, ending: Ending) -> ProviderResult:
        """A ``result`` decides, unless the program fails all the same; else the exit code does."""
        final = self._result
        output = (final.output if final else None) or self._last_message or self._words.text
        if final is None:
            return _by_exit_code(ending, output, is_silent=self._is_silent)
        if final.is_error:
            reason = output[-MAX_REASON_CHARS:] or "The command reported an error"
            failed = Failure(final.error_category or _category(output), reason)
            return concluded(failed, exit_code=ending.exit_code, cost=final.cost)
        # What is ended by a signal after its last word, ours or not, had nothing left to do.
        was_ended = ending.hung_after_result or ending.aborted or ending.exit_code > 128
        if ending.exit_code == 0 or was_ended:
            return concluded(None, exit_code=0, cost=final.cost, output=output or None)
        return replace(_by_exit_code(ending, output), cost=final.cost)


class _Words:
    """The last plain words of a program."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._chars = 0

    def add(self, line: str) -> Iterable[ProviderEvent]:
        """Keep one line; return it as progress, if it is something to read."""
        line = line[-MAX_TEXT_OUTPUT:]
        self._lines.append(line)
        self._chars += len(line) + 1
        while self._chars > MAX_TEXT_OUTPUT and len(self._lines) > 1:
            self._chars -= len(self._lines.popleft()) + 1
        words = line.strip()
        return (Progress(words),) if words and not words.startswith(("{", "[")) else ()

    @property
    def text(self) -> str:
        """All of them that are kept."""
        return "\n".join(self._lines)[-MAX_TEXT_OUTPUT:].strip()


def _by_exit_code(ending: Ending, output: str, *, is_silent: bool = True) -> ProviderResult:
    if ending.aborted is not None and ending.exit_code != 0:
        return concluded(Failure("aborted", ending.aborted), exit_code=ABORTED_EXIT)
    said = (ending.stderr_tail or output)[-MAX_REASON_CHARS:].strip()
    if ending.exit_code == 0:
        if output or not is_silent:
            return concluded(None, exit_code=0, output=output or None)
        failed = Failure("no_output", _with("The command exited without saying anything", said))
    else:
        summary = f"The command exited with code {ending.exit_code}"
        failed = Failure(_category(said), _with(summary, said))
    return concluded(failed, exit_code=ending.exit_code)


def _category(said: str) -> str | None:
    found = classify_error(said, also=SPEC.error_texts)
    return None if found is ErrorClass.UNKNOWN else found.value


def _with(summary: str, said: str) -> str:
    return f"{summary}: {said}" if said else summary


_Field: TypeAlias = Callable[[dict[str, Any]], Any]
"""Reads one field out of an object whose keys are in snake_case."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def read_normalized(native: object) -> ProviderEvent | None:
    """Return the event a JSON value stands for, or ``None`` if it stands for none."""
    if not isinstance(native, dict):
        return None
    kind = native.get("type")
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        return None
    try:
        return event_from_dict({"type": kind} | _filled(fields, native))
    except InvalidEvent:
        return None


def _filled(fields: dict[str, _Field], native: dict[Any, Any]) -> dict[str, Any]:
    snake = {_HUMP.sub("_", str(key)).lower(): value for key, value in native.items()}
    return {name: read(snake) for name, read in fields.items()}


def _text(*names: str) -> _Field:
    """The first of these that is a string, else an empty one."""

    def read(native: dict[str, Any]) -> str:
        return next((v for name in names if isinstance(v := native.get(name), str)), "")

    return read


def _words(*names: str) -> _Field:
    """A string that says something, else ``None``."""
    read = _text(*names)
    return lambda native: read(native) or None


def _amount(name: str) -> _Field:
    """A finite number that is not negative, else ``None``."""
    return lambda native: number(native.get(name))


def _count(name: str, missing: int | None = None) -> _Field:
    """A number of things, rounded."""
    read = _amount(name)
    return lambda native: missing if (value := read(native)) is None else round(value)


def _flag(name: str) -> _Field:
    return lambda native: native.get(name) is True


def _value(name: str) -> _Field:
    return lambda native: native.get(name)


def _either(name: str, special: str, usual: str) -> _Field:
    return lambda native: special if native.get(name) == special else usual


def _cost(native: dict[str, Any]) -> dict[str, Any] | None:
    cost = native.get("cost")
    return _filled(_COST_FIELDS, cost) if isinstance(cost, dict) else None


def _custom_name(native: dict[str, Any]) -> str:
    return _text("name")(native) or "custom"


_COST_FIELDS: dict[str, _Field] = {
    "input_tokens": _count("input_tokens"),
    "output_tokens": _count("output_tokens"),
    "cache_read_tokens": _count("cache_read_tokens"),
    "cache_write_tokens": _count("cache_write_tokens"),
    "reasoning_output_tokens": _count("reasoning_output_tokens"),
    "thinking_tokens": _count("thinking_tokens"),
    "duration_ms": _count("duration_ms"),
    "num_turns": _count("num_turns"),
    "total_cost_usd": _amount("total_cost_usd"),
    "model": _text("model"),
    "is_error": _flag("is_error"),
}
_CALL_ID = _text("tool_call_id", "id")
_FIELDS: dict[str, dict[str, _Field]] = {
    "session_init": {"session_id": _words("session_id", "id"), "model": _words("model")},
    "message": {
        "role": _either("role", "user", "assistant"),
        "content": _text("content", "text", "message"),
    },
    "tool_start": {
        "tool_call_id": _CALL_ID,
        "tool_name": _words("tool_name", "name"),
        "args": _value("args"),
    },
    "tool_end": {
        "tool_call_id": _CALL_ID,
        "tool_name": _text("tool_name", "name"),
        "result": _value("result"),
        "is_error": _flag("is_error"),
    },
    "result": {
        "cost": _cost,
        "output": _words("output", "result"),
        "is_error": _flag("is_error"),
        "error_category": _words("error_category"),
    },
    "context_usage": {
        "context_used_tokens": _count("context_used_tokens"),
        "context_total_tokens": _count("context_total_tokens"),
        "context_percent": _amount("context_percent"),
        "output_tokens": _count("output_tokens"),
        "context_formula": lambda _: "harness-reported",
    },
    "compaction": {
        "pre_compact_tokens": _count("pre_compact_tokens", 0),
        "compact_trigger": _either("compact_trigger", "manual", "auto"),
        "context_total_tokens": _count("context_total_tokens"),
    },
    "error": {"message": _text("message", "error"), "category": _words("category")},
    "progress": {"message": _words("message", "content")},
    "custom": {"name": _custom_name, "data": _value("data")},
}
"""Per type of event: how each of its fields is read."""

NORMALIZED_TYPES = frozenset(_FIELDS)
