"""Translate the output of an arbitrary program, by ``HARNESS_OUTPUT``.

===========  ====================================================================================
stream-json  claude-style events; success only with a final ``result`` that says so
jsonl        normalized events, or any JSON; success by its ``result``, else by exit code
text         plain text: each line is progress, all of them are the output; success by exit code
auto         text until the first JSON object that is an event; its shape decides
===========  ====================================================================================

A normalized event is an object such as ``{"type": "tool_start", "toolName": "build", …}``. Keys are
accepted in camelCase and in snake_case, some under a second name. An optional field of the wrong
type counts as missing; an event without a required field is ignored, and only in the journal.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    CostData,
    Custom,
    Error,
    Message,
    Progress,
    ProviderEvent,
    RawLog,
    RawStderr,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.providers.kit.launch import JsonTranslator
from agent_swarm_worker.providers.kit.native import number
from agent_swarm_worker.providers.kit.outcome import ABORTED_EXIT, Failure, concluded
from agent_swarm_worker.providers.subprocess.spec import SPEC

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.contract import Ending, ProviderResult, Translator
    from agent_swarm_worker.providers.claude.translate import ClaudeTranslator

OutputMode: TypeAlias = Literal["auto", "stream-json", "jsonl", "text"]

MAX_TEXT_OUTPUT = 30_000
"""Characters of plain text kept as the output of the task, from the end."""
MAX_REASON_CHARS = 2000
"""The end of standard error or output that the reason of a failure quotes."""

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_CLAUDE_TYPES = frozenset({"system", "assistant", "user", "stream_event", "rate_limit_event"})
NORMALIZED_TYPES = frozenset(
    event.type for event in get_args(ProviderEvent) if event not in (RawLog, RawStderr)
)


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
        return _by_exit_code(ending, self._text.text)

    def _choose(self, native: Any) -> Translator | None:
        kind = native.get("type") if isinstance(native, dict) else None
        if not isinstance(kind, str):
            return None
        if kind in _CLAUDE_TYPES or (kind == "result" and "subtype" in native):
            return self._claude
        return JsonLinesTranslator(self._text) if kind in NORMALIZED_TYPES else None


class JsonLinesTranslator(JsonTranslator):
    """Translates normalized events; other JSON is only in the journal."""

    def __init__(self, text: TextTail) -> None:
        self._result: Result | None = None
        self._last_message = ""
        self._text = text
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
        """Take a line between the events; it is output only if the events have none."""
        return self._text.add(line)

    @property
    def is_final(self) -> bool:
        """True after a ``result``."""
        return self._result is not None

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the outcome of the ``result`` if there is one; else that of the exit code."""
        final = self._result
        output = (final.output if final else None) or self._last_message or self._text.text
        if final is None:
            return _by_exit_code(ending, output, is_silent=self._is_silent)
        if final.is_error:
            reason = output[-MAX_REASON_CHARS:] or "The command reported an error"
            failed = Failure(final.error_category or _category(output), reason)
            return concluded(failed, exit_code=ending.exit_code, cost=final.cost)
        # A program that a signal ends after its result, ours or not, has finished.
        was_ended = ending.hung_after_result or ending.aborted or ending.exit_code > 128
        if ending.exit_code == 0 or was_ended:
            return concluded(None, exit_code=0, cost=final.cost, output=output or None)
        return replace(_by_exit_code(ending, output), cost=final.cost)


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
        return (Progress(shown),) if shown and not shown.startswith(("{", "[")) else ()

    @property
    def text(self) -> str:
        """The kept text."""
        return "\n".join(self._lines)[-MAX_TEXT_OUTPUT:].strip()


def _by_exit_code(ending: Ending, output: str, *, is_silent: bool = True) -> ProviderResult:
    if ending.aborted is not None and ending.exit_code != 0:
        return concluded(Failure("aborted", ending.aborted), exit_code=ABORTED_EXIT)
    quoted = (ending.stderr_tail or output)[-MAX_REASON_CHARS:].strip()
    if ending.exit_code == 0:
        if output or not is_silent:
            return concluded(None, exit_code=0, output=output or None)
        failed = Failure("no_output", _with("The command exited without saying anything", quoted))
    else:
        summary = f"The command exited with code {ending.exit_code}"
        failed = Failure(_category(quoted), _with(summary, quoted))
    return concluded(failed, exit_code=ending.exit_code)


def _category(message: str) -> str | None:
    found = classify_error(message, also=SPEC.error_texts)
    return None if found is ErrorClass.UNKNOWN else found.value


def _with(summary: str, details: str) -> str:
    return f"{summary}: {details}" if details else summary


def read_normalized(native: object) -> ProviderEvent | None:
    """Return the event in a JSON value, or ``None`` if it is none."""
    if not isinstance(native, dict) or not isinstance(native.get("type"), str):
        return None
    return _event(native["type"], _snake(native))


def _event(kind: str, native: dict[str, Any]) -> ProviderEvent | None:
    is_error = native.get("is_error") is True
    call_id, tool = _text(native, "tool_call_id", "id"), _text(native, "tool_name", "name")
    used, window = _count(native, "context_used_tokens"), _count(native, "context_total_tokens")
    match kind:
        case "session_init" if session_id := _text(native, "session_id", "id"):
            return SessionInit(session_id, model=_text(native, "model") or None)
        case "message":
            content = _text(native, "content", "text", "message")
            return Message("user" if native.get("role") == "user" else "assistant", content)
        case "tool_start" if tool:
            return ToolStart(call_id, tool, native.get("args"))
        case "tool_end":
            return ToolEnd(call_id, tool, native.get("result"), is_error)
        case "result":
            output, category = _text(native, "output", "result"), _text(native, "error_category")
            return Result(_cost(native.get("cost")), output or None, is_error, category or None)
        case "context_usage" if used is not None:
            percent, written = (
                number(native.get("context_percent")),
                _count(native, "output_tokens"),
            )
            return ContextUsage(used, window, percent, written, "harness-reported")
        case "compaction":
            before = _count(native, "pre_compact_tokens") or 0
            is_manual = native.get("compact_trigger") == "manual"
            return Compaction(before, "manual" if is_manual else "auto", window)
        case "error":
            return Error(_text(native, "message", "error"), _text(native, "category") or None)
        case "progress" if message := _text(native, "message", "content"):
            return Progress(message)
        case "custom":
            return Custom(_text(native, "name") or "custom", native.get("data"))
    return None


def _cost(native: Any) -> CostData | None:
    if not isinstance(native, dict):
        return None
    cost = _snake(native)
    return CostData(
        input_tokens=_count(cost, "input_tokens"),
        output_tokens=_count(cost, "output_tokens"),
        cache_read_tokens=_count(cost, "cache_read_tokens"),
        cache_write_tokens=_count(cost, "cache_write_tokens"),
        reasoning_output_tokens=_count(cost, "reasoning_output_tokens"),
        thinking_tokens=_count(cost, "thinking_tokens"),
        duration_ms=_count(cost, "duration_ms"),
        num_turns=_count(cost, "num_turns"),
        total_cost_usd=number(cost.get("total_cost_usd")),
        model=_text(cost, "model"),
        is_error=cost.get("is_error") is True,
    )


def _snake(native: dict[Any, Any]) -> dict[str, Any]:
    return {_HUMP.sub("_", str(key)).lower(): value for key, value in native.items()}


def _text(native: dict[str, Any], *names: str) -> str:
    """Return the first of these fields that is a string, else an empty one."""
    return next((value for name in names if isinstance(value := native.get(name), str)), "")


def _count(native: dict[str, Any], name: str) -> int | None:
    value = number(native.get(name))
    return None if value is None else round(value)
