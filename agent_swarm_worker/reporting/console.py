"""What a session says, one brief line per event, for whoever watches the worker's log.

Meant for people: nothing parses these lines, and what they leave out is in the journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import RawLog, RawStderr
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.reporting.text import one_line

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderEvent

MAX_LINE_CHARS = 200
MAX_PART_CHARS = 100
MAX_INPUT_CHARS = 50
MAX_PARSED_CHARS = 256 * 1024
"""A longer record is not worth parsing for one line on a terminal."""


class Console:
    """A session listener that logs what the session says."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def on_event(self, event: ProviderEvent) -> None:
        """Log one event, if it is output."""
        if isinstance(event, RawLog):
            line = brief(event.content)
            if line:
                self._log.info(Event.SESSION_OUTPUT, text=line)
        elif isinstance(event, RawStderr):
            line = one_line(event.content, MAX_PART_CHARS)
            if line:
                self._log.info(Event.SESSION_STDERR, text=line)


def brief(record: str) -> str | None:
    """Return one readable line for one record of a session's log, or nothing.

    Anything is taken: Claude's stream, the events of other harnesses, plain text.
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
    if isinstance(turns, int):
        parts.append(f"{turns} turns")
    if isinstance(duration_ms, (int, float)):
        parts.append(f"{duration_ms / 1000:.1f} s")
    if isinstance(cost_usd, (int, float)):
        parts.append(f"${cost_usd:.4f}")
    mark = "✗" if record.get("is_error") else "✓"
    said = record.get("result")
    return f"{mark} {', '.join(parts)}" + (f": {_text(said)}" if said else "")


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
            name = str(block.get("name", "tool")).removeprefix("mcp__").replace("__", ":")
            return f"▸ {name}({_inputs(block.get('input'))})"
        case "tool_result":
            return f"{'✗' if block.get('is_error') else '◂'} {_text(block.get('content'))}"
    return ""


def _inputs(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ""
    return ", ".join(f"{key}={one_line(str(item), MAX_INPUT_CHARS)}" for key, item in value.items())


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = " ".join(str(part.get("text", "")) for part in value if isinstance(part, Mapping))
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return one_line(text, MAX_PART_CHARS)
