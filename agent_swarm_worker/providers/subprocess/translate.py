"""Translate the output of an arbitrary program, by ``HARNESS_OUTPUT``.

===========  ====================================================================================
stream-json  claude-style events; success only with a final ``result`` that says so
jsonl        normalized events, or any JSON; success only with a final ``result`` that can be read
             and says nothing of a failure
text         plain text: each line is progress, all of them are the output; success by exit code
auto         text until the first JSON object that is an event; its shape decides
===========  ====================================================================================

A normalized event is an object such as ``{"type": "tool_start", "toolName": "build", …}``. Keys and
types are accepted in any spelling, some keys under a second name. An optional field of the wrong
type counts as missing; an event without a required field is ignored, and only in the journal. An
event may be in an array, a string or an envelope, and a result on several lines (`split_json`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from agent_swarm_worker.contract import Error, Message, Progress, Result
from agent_swarm_worker.contract.codec import InvalidEvent, event_from_dict
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.providers.kit.launch import JsonTranslator
from agent_swarm_worker.providers.kit.lenient_json import MAX_QUOTED_CHARS, UNREADABLE, torn_event
from agent_swarm_worker.providers.kit.native import (
    is_yes,
    number,
    says_failure,
    squashed,
    tells_failure,
    text,
)
from agent_swarm_worker.providers.kit.outcome import (
    ABORTED_EXIT,
    OUT_OF_MEMORY,
    Failure,
    concluded,
    exit_text,
    killed_category,
)
from agent_swarm_worker.providers.kit.split_json import SplitObject, events_in, kind_of
from agent_swarm_worker.providers.subprocess.spec import SPEC
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.contract import Ending, ProviderEvent, ProviderResult, Translator
    from agent_swarm_worker.providers.claude.translate import ClaudeTranslator

OutputMode: TypeAlias = Literal["auto", "stream-json", "jsonl", "text"]

MAX_TEXT_OUTPUT = 30_000
"""Characters of plain text kept as the output of the task; the beginning is dropped."""
MAX_REASON_CHARS = 2000
"""The end of standard error or output that the reason of a failure quotes."""

_Field: TypeAlias = Callable[[dict[str, Any]], Any]
"""Reads one field out of an object whose keys are in snake_case."""
_NO_PROGRESS = ("{", "[", "data:")
_OBJECT_FIRST = re.compile(r"\s*(?:data:\s*)?\{")
_CLAUDE_TYPES = frozenset({"system", "assistant", "user", "stream_event", "rate_limit_event"})


class SubprocessTranslator:
    """Chooses the translator for the format of a program, and delegates to it."""

    def __init__(self, mode: OutputMode, claude: ClaudeTranslator) -> None:
        self._claude = claude
        self._text = TextTail()
        self._chosen: Translator | None = None
        if mode == "stream-json":
            self._chosen = claude
        elif mode == "jsonl":
            self._chosen = JsonLinesTranslator(self._text)
        self._decides = mode == "auto"
        self._split = SplitObject()
        self._torn = ""
        """A result that cannot be read."""

    def is_text(self, native: Any) -> bool:
        """True for JSON that is no event, until the first event."""
        if self._chosen is None and self._decides:
            self._chosen = self._choose(native)
        return self._chosen is None

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Take one JSON line that is not text."""
        return () if self.is_text(native) or self._chosen is None else self._chosen.feed(native)

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:
        """Take one line of text."""
        if self._chosen is not None:
            return self._chosen.feed_text(line)
        if self._decides:
            whole = [native for native in self._split.add(line) if not self.is_text(native)]
            if whole:
                return [event for native in whole for event in self.feed(native)]
            if _OBJECT_FIRST.match(line) and torn_event(line) == "result":
                self._torn = line
        return self._text.add(line)

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:
        """Take one line of standard error."""
        return self._chosen.feed_stderr(line) if self._chosen is not None else ()

    @property
    def is_final(self) -> bool:
        """True once the program has reported its result; plain text has none."""
        return self._chosen is not None and self._chosen.is_final

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the result of the session."""
        if self._chosen is not None:
            return self._chosen.conclude(ending)
        if self._split and torn_event(self._split.text) == "result":
            self._torn = self._split.text
        return _by_exit_code(ending, self._text.text, torn=self._torn)

    def _choose(self, native: Any) -> Translator | None:
        kind = native.get("type") if isinstance(native, dict) else None
        if isinstance(kind, str) and kind in _CLAUDE_TYPES:
            return self._claude
        if not (isinstance(kind, str) and kind in NORMALIZED_TYPES):
            native = next(events_in(native, {"result": "result"}), None)
        if native is None:
            return None
        is_claude = native["type"] == "result" and "subtype" in native
        return self._claude if is_claude else JsonLinesTranslator(self._text)


class JsonLinesTranslator(JsonTranslator):
    """Translates normalized events; other JSON is only in the journal."""

    def __init__(self, text: TextTail) -> None:
        self._result: Result | None = None
        self._last_message = self._last_error = ""
        self._text = text
        self._split = SplitObject()
        self._torn = ""
        """A line that cannot be read and may be the result."""

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Take one JSON line."""
        found = list(events_in(native, _KINDS))
        if self._split and not found:
            self._split.add_value(native)
        elif found:
            self._split.clear()
        return [event for one in found if (event := self._take(one)) is not None]

    def _take(self, native: dict[str, Any]) -> ProviderEvent | None:
        event = read_normalized(native)
        if isinstance(event, Result):
            self._result, self._torn = event, ""
        elif event is None and native["type"] == "result":
            self._result, self._torn = None, str(native)
        elif isinstance(event, Message) and _is_answer(event):
            self._last_message = event.content
        elif isinstance(event, Error):
            self._last_error = event.message
        return event

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:
        """Take a line between the events; it is output only if the events have none."""
        whole = self._split.add(line)
        if whole:
            return [event for native in whole for event in self.feed(native)]
        self._take_torn(line)
        shown = self._text.add(line)
        return () if self._split else shown

    def _take_torn(self, line: str) -> None:
        kind = torn_event(line)
        if kind == "result":
            self._result, self._torn = None, line
        elif kind == "" and self._result is None:
            self._torn = line

    @property
    def is_final(self) -> bool:
        """True after a ``result``, readable or not."""
        return self._result is not None or torn_event(self._torn) == "result"

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the outcome of the ``result``; without one the session has failed."""
        if self._split:
            self._take_torn(self._split.text)
        final = self._result
        output = (final.output if final else None) or self._last_message or self._text.text
        if final is None:
            said = self._torn or self._last_error or output
            return _by_exit_code(ending, said, torn=self._torn, without="a result")
        if final.is_error:
            reason = output[-MAX_REASON_CHARS:] or "The command reported an error"
            failed = Failure(final.error_category or _category(output), reason)
            return concluded(failed, exit_code=ending.exit_code, cost=final.cost)
        # A program that a signal ends after its result, ours or not, has finished.
        was_ended = ending.hung_after_result or ending.aborted or ending.exit_code > 128
        if ending.exit_code == 0 or was_ended:
            return concluded(None, exit_code=0, cost=final.cost, output=output or None)
        return replace(_by_exit_code(ending, output), cost=final.cost)


def _is_answer(event: Message) -> bool:
    return event.role == "assistant" and not event.subagent and bool(event.content.strip())


class TextTail:
    """Keeps the end of a program's plain text."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._chars = 0

    def add(self, line: str) -> Iterable[ProviderEvent]:
        """Keep one line; return it as progress unless it is empty or looks like JSON."""
        line = line[-MAX_TEXT_OUTPUT:]
        self._lines.append(line)
        self._chars += len(line) + 1
        while self._chars > MAX_TEXT_OUTPUT and len(self._lines) > 1:
            self._chars -= len(self._lines.popleft()) + 1
        shown = line.strip()
        return (Progress(shown),) if shown and not shown.startswith(_NO_PROGRESS) else ()

    @property
    def text(self) -> str:
        """The kept text."""
        return "\n".join(self._lines)[-MAX_TEXT_OUTPUT:].strip()


def _by_exit_code(
    ending: Ending, output: str, *, torn: str = "", without: str = "saying anything"
) -> ProviderResult:
    if ending.aborted is not None and ending.exit_code != 0:
        return concluded(Failure("aborted", ending.aborted), exit_code=ABORTED_EXIT)
    quoted = (ending.stderr_tail or output)[-MAX_REASON_CHARS:].strip()
    if ending.exit_code == 0 and torn:
        why = f"The command exited, but {UNREADABLE}: {one_line(torn, MAX_QUOTED_CHARS)}"
        failed = Failure(_category(torn) or "unreadable_output", why)
    elif ending.exit_code == 0:
        if output and without == "saying anything":
            return concluded(None, exit_code=0, output=output)
        kind = (_category(quoted) or "no_result") if output else "no_output"
        failed = Failure(kind, _with(f"The command exited without {without}", quoted))
    else:
        cause = OUT_OF_MEMORY if ending.out_of_memory else _category(quoted)
        summary = f"The command {exit_text(ending)}"
        failed = Failure(cause or killed_category(ending), _with(summary, quoted))
    return concluded(failed, exit_code=ending.exit_code)


def _category(message: str) -> str | None:
    found = classify_error(message, also=SPEC.error_texts)
    return None if found is ErrorClass.UNKNOWN else found.value


def _with(summary: str, details: str) -> str:
    return f"{summary}: {details}" if details else summary


def read_normalized(native: object) -> ProviderEvent | None:
    """Return the event in a JSON value, or ``None`` if it is none."""
    if not isinstance(native, dict):
        return None
    kind = kind_of(native, _KINDS)
    if kind is None:
        return None
    try:
        return event_from_dict({"type": kind} | _filled(_FIELDS[kind], native))
    except InvalidEvent:
        return None


def _filled(fields: dict[str, _Field], native: dict[Any, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in native.items():
        key = squashed(str(name))
        if not (key in plain and tells_failure(key, plain[key])):
            plain[key] = value
    return {name: read(plain) for name, read in fields.items()}


def _text(*names: str) -> _Field:
    """The first of these keys with a string, else an empty one."""
    keys = tuple(map(squashed, names))
    return lambda native: next((v for key in keys if isinstance(v := native.get(key), str)), "")


def _text_or_none(*names: str) -> _Field:
    """As `_text`, but ``None`` if it is empty."""
    read = _text(*names)
    return lambda native: read(native) or None


def _number(name: str) -> _Field:
    key = squashed(name)
    return lambda native: number(native.get(key))


def _count(name: str, missing: int | None = None) -> _Field:
    """A number, rounded."""
    key = squashed(name)
    return lambda native: missing if (n := number(native.get(key))) is None else round(n)


def _is_error(native: dict[str, Any]) -> bool:
    return is_yes(native.get("iserror"))


def _output(native: dict[str, Any]) -> str | None:
    """The output, or what a failed result says of its error."""
    error = native.get("error")
    said = _text("message")(error) if isinstance(error, dict) else text(error)
    return _text("output", "result")(native) or said or None


def _value(name: str) -> _Field:
    return lambda native: native.get(name)


def _either(name: str, special: str, usual: str) -> _Field:
    key = squashed(name)
    return lambda native: special if native.get(key) == special else usual


def _cost(native: dict[str, Any]) -> dict[str, Any] | None:
    cost = native.get("cost")
    return _filled(_COST_FIELDS, cost) if isinstance(cost, dict) else None


def _helper(native: dict[str, Any]) -> dict[str, Any] | None:
    """A subagent as ``{"id": …, "name": …}``, or its id alone, also under claude's name."""
    helper = native.get("helper", native.get("parenttooluseid"))
    if isinstance(helper, str) and helper:
        return {"id": helper}
    if not isinstance(helper, dict) or not _text("id")(helper):
        return None
    return {"id": helper["id"], "name": _text("name")(helper)}


_COST_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_output_tokens",
    "thinking_tokens",
    "duration_ms",
    "num_turns",
)
_COST_FIELDS: dict[str, _Field] = {
    **{name: _count(name) for name in _COST_COUNTS},
    "total_cost_usd": _number("total_cost_usd"),
    "model": _text("model"),
    "is_error": _is_error,
}
_CALL_ID = _text("tool_call_id", "id")
_FIELDS: dict[str, dict[str, _Field]] = {
    "session_init": {
        "session_id": _text_or_none("session_id", "id"),
        "model": _text_or_none("model"),
    },
    "message": {
        "role": _either("role", "user", "assistant"),
        "content": _text("content", "text", "message"),
        "subagent": lambda native: native.get("subagent") is True or _helper(native) is not None,
        "helper": _helper,
    },
    "tool_start": {
        "tool_call_id": _CALL_ID,
        "tool_name": _text_or_none("tool_name", "name"),
        "args": _value("args"),
        "helper": _helper,
    },
    "tool_end": {
        "tool_call_id": _CALL_ID,
        "tool_name": _text("tool_name", "name"),
        "result": _value("result"),
        "is_error": _is_error,
        "helper": _helper,
    },
    "result": {
        "cost": _cost,
        "output": _output,
        "is_error": says_failure,
        "error_category": _text_or_none("error_category"),
    },
    "context_usage": {
        "context_used_tokens": _count("context_used_tokens"),
        "context_total_tokens": _count("context_total_tokens"),
        "context_percent": _number("context_percent"),
        "output_tokens": _count("output_tokens"),
        "context_formula": lambda _: "harness-reported",
    },
    "compaction": {
        "pre_compact_tokens": _count("pre_compact_tokens", 0),
        "compact_trigger": _either("compact_trigger", "manual", "auto"),
        "context_total_tokens": _count("context_total_tokens"),
    },
    "error": {"message": _text("message", "error"), "category": _text_or_none("category")},
    "progress": {"message": _text_or_none("message", "content")},
    "custom": {"name": lambda native: _text("name")(native) or "custom", "data": _value("data")},
}
"""The reader of each field, by type of event."""

NORMALIZED_TYPES = frozenset(_FIELDS)
_KINDS = {squashed(kind): kind for kind in _FIELDS}
