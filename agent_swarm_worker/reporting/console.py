"""What a session says, one brief line per event, for whoever watches the worker's log.

The lines are made from normalized events, so that they read alike for every harness. Only a record
that no event came of (a rate limit, thinking, text that is not JSON) is parsed for its line.
Meant for people: nothing parses these lines, and what they leave out is in the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import (
    Compaction,
    Error,
    Message,
    Progress,
    RawLog,
    RawStderr,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.contract.listening import listens_to
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderEvent

MAX_LINE_CHARS = 200
MAX_PART_CHARS = 100
MAX_INPUT_CHARS = 50
MAX_PARSED_CHARS = 256 * 1024
"""A longer record is not worth parsing for one line on a terminal."""


def _message(event: Message) -> str:
    return _text(event.content)


def _tool_start(event: ToolStart) -> str:
    return one_line(_call(event.tool_name, event.args), MAX_LINE_CHARS)


def _tool_end(event: ToolEnd) -> str:
    return f"{'✗' if event.is_error else '◂'} {_text(event.result)}"


def _session_init(event: SessionInit) -> str:
    return one_line(f"session starts: model {event.model or 'unknown'}", MAX_LINE_CHARS)


def _final_result(event: Result) -> str:
    parts = [event.error_category or ("failure" if event.is_error else "success")]
    if (cost := event.cost) is not None:
        parts += _spent(cost.num_turns, cost.duration_ms, cost.total_cost_usd)
    mark = "✗" if event.is_error else "✓"
    said = f": {_text(event.output)}" if event.output else ""
    return one_line(f"{mark} {', '.join(parts)}{said}", MAX_LINE_CHARS)


def _error(event: Error) -> str:
    return f"✗ {_text(event.message)}"


def _progress(event: Progress) -> str:
    return one_line(event.message, MAX_LINE_CHARS)


def _compaction(event: Compaction) -> str:
    return f"context compacted ({event.compact_trigger}), from {event.pre_compact_tokens:,} tokens"


_DESCRIPTIONS: Mapping[type, Callable[[Any], str]] = {
    Message: _message,
    ToolStart: _tool_start,
    ToolEnd: _tool_end,
    SessionInit: _session_init,
    Result: _final_result,
    Error: _error,
    Progress: _progress,
    Compaction: _compaction,
}


class Console:
    """A session listener that logs what the session says; does nothing if the log hides it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._is_shown = log.shows_info
        self._unexplained: str | None = None
        """The last record, until an event comes of it."""
        self._is_scheduled = False

    @listens_to(*_DESCRIPTIONS, RawStderr, lines="unexplained")
    def on_event(self, event: ProviderEvent) -> None:
        """Log one event, if there is something to be read in it."""
        if not self._is_shown:
            return
        describe = _DESCRIPTIONS.get(type(event))
        if describe is not None:
            self._unexplained = None
            if text := describe(event):
                self._log.output(Event.SESSION_OUTPUT, text)
        elif isinstance(event, RawLog):
            if self._is_scheduled and self._unexplained is None:
                self._unexplained = event.content
            else:
                self._take_record(event.content)
        elif isinstance(event, RawStderr) and (text := one_line(event.content, MAX_PART_CHARS)):
            self._log.output(Event.SESSION_STDERR, text)

    def _take_record(self, record: str) -> None:
        """Wait for the events of a record: they come before the loop's step ends, or never."""
        if self._unexplained is not None:
            self._explain()
        self._unexplained = record
        if self._is_scheduled:
            return
        try:
            asyncio.get_running_loop().call_soon(self._end_step)
        except RuntimeError:  # no loop in this thread: nobody would say when the step ends
            self._explain()
        else:
            self._is_scheduled = True

    def _end_step(self) -> None:
        self._is_scheduled = False
        self._explain()

    def _explain(self) -> None:
        """Log a record that no event has come of."""
        record, self._unexplained = self._unexplained, None
        if record is not None and (text := brief(record)):
            self._log.output(Event.SESSION_OUTPUT, text)


def brief(record: str) -> str | None:
    """Return one readable line for one record of a session's log, or nothing.

    Anything is taken: Claude's stream, the records of other harnesses, plain text.
    """
    if len(record) > MAX_PARSED_CHARS:
        return f"[{len(record):,} characters] {one_line(record, MAX_PART_CHARS)}"
    try:
        value = orjson.loads(record)
    except ValueError:
        return one_line(record, MAX_LINE_CHARS) or None
    if not isinstance(value, dict):
        return one_line(record, MAX_LINE_CHARS) or None
    return one_line(_describe(value), MAX_LINE_CHARS) or None


def _describe(record: dict[str, Any]) -> str:
    kind = str(record.get("type", ""))
    match kind:
        case "assistant" | "user":
            return " · ".join(_blocks(record))
        case "system":
            return _system(record)
        case "result":
            return _result(record)
        case "stdout" | "stderr":
            return str(record.get("content", ""))
        case "error":
            return f"✗ {_text(record.get('message') or record.get('error') or record)}"
        case "stream_event":
            return ""
    return f"[{kind or 'event'}] {_text(record)}"


def _system(record: dict[str, Any]) -> str:
    subtype = str(record.get("subtype", "system"))
    if subtype == "init":
        tools = record.get("tools")
        count = len(tools) if isinstance(tools, list) else 0
        return f"session starts: model {record.get('model', 'unknown')}, {count} tools"
    said = record.get("message") or record.get("content") or record.get("hook_name") or ""
    return f"[{subtype}] {_text(said)}"


def _result(record: dict[str, Any]) -> str:
    parts = [str(record.get("subtype", "result"))]
    turns, duration_ms = record.get("num_turns"), record.get("duration_ms")
    cost_usd = record.get("total_cost_usd")
    parts += _spent(turns, duration_ms, cost_usd)
    mark = "✗" if record.get("is_error") else "✓"
    said = record.get("result")
    return f"{mark} {', '.join(parts)}" + (f": {_text(said)}" if said else "")


def _spent(turns: object, duration_ms: object, cost_usd: object) -> Iterator[str]:
    if isinstance(turns, int):
        yield f"{turns} turns"
    if isinstance(duration_ms, (int, float)):
        yield f"{duration_ms / 1000:.1f} s"
    if isinstance(cost_usd, (int, float)):
        yield f"${cost_usd:.4f}"


def _blocks(record: dict[str, Any]) -> Iterator[str]:
    message = record.get("message")
    content = message.get("content") if isinstance(message, Mapping) else message
    if isinstance(content, str):
        yield _text(content)
    for block in content if isinstance(content, list) else ():
        if isinstance(block, Mapping) and (line := _block(block)):
            yield line


def _block(block: Mapping[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return _text(block.get("text"))
        case "thinking":
            return f"(thinking) {_text(block.get('thinking'))}"
        case "tool_use":
            return _call(str(block.get("name", "tool")), block.get("input"))
        case "tool_result":
            return f"{'✗' if block.get('is_error') else '◂'} {_text(block.get('content'))}"
    return ""


def _call(tool_name: str, args: Any) -> str:
    name = tool_name.removeprefix("mcp__").replace("__", ":")
    return f"▸ {name}({_inputs(args)})"


def _inputs(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ""
    return ", ".join(f"{key}={one_line(str(item), MAX_INPUT_CHARS)}" for key, item in value.items())


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = " ".join(str(part.get("text", "")) for part in value if isinstance(part, Mapping))
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return one_line(text, MAX_PART_CHARS)
