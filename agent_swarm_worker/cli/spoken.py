"""What is worth showing of a session's log: words, tool calls, and what went to the terminal.

Takes whatever a harness may have written: Claude's stream, the normalized events, plain text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import Error, Message, Progress, ToolStart
from agent_swarm_worker.providers.subprocess.normalized import read_normalized
from agent_swarm_worker.reporting.labels import label

if TYPE_CHECKING:
    from collections.abc import Iterator


def spoken(line: str) -> Iterator[tuple[str, str]]:
    """Yield a mark and a text for each thing that one line of a session's log says."""
    try:
        native = orjson.loads(line)
    except orjson.JSONDecodeError:
        native = line
    for mark, text in _said(native, line):
        if text.strip():
            yield mark, text


def _said(native: Any, line: str) -> Iterator[tuple[str, str]]:
    if not isinstance(native, dict):
        yield "│", line
        return
    kind, message = native.get("type"), native.get("message")
    if kind in ("stdout", "stderr"):
        yield "│", str(native.get("content", ""))
    elif kind == "assistant" and isinstance(message, dict):
        content = message.get("content")
        if isinstance(content, str):
            yield "💬", content
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict):
                yield from _block(block)
    else:
        yield from _normalized(native)


def _block(block: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if block.get("type") == "text":
        yield "💬", str(block.get("text", ""))
    elif block.get("type") == "tool_use":
        yield "🔧", _tool(str(block.get("name", "tool")), block.get("input"))


def _normalized(native: dict[str, Any]) -> Iterator[tuple[str, str]]:
    match read_normalized(native):
        case Message("assistant", content):
            yield "💬", content
        case ToolStart(_, name, args):
            yield "🔧", _tool(name, args)
        case Progress(message):
            yield "…", message
        case Error(message):
            yield "✘", message


def _tool(name: str, args: Any) -> str:
    return label(name, args) or name
