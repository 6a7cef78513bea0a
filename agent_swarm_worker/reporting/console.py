"""Log one short line for each event of a session, for people who watch the worker's log.

A record of which no event came is shown by its type and its JSON; plain text as it is. The journal
has everything that is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import (
    Compaction,
    Error,
    Message,
    PermissionDecided,
    Plan,
    Progress,
    RawLog,
    RawStderr,
    Reasoning,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.contract.actions import USUAL_TOOLS, action_of
from agent_swarm_worker.contract.listening import listens_to
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.reporting.labels import helper_name
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ActionKind, CostData, ProviderEvent

MAX_LINE_CHARS = 200
MAX_PART_CHARS = 100
MAX_INPUT_CHARS = 50
MAX_PARSED_CHARS = 256 * 1024
"""A longer record is not parsed."""


def _tool_start(event: ToolStart, tools: Mapping[str, ActionKind]) -> str:
    name = event.tool_name.removeprefix("mcp__").replace("__", ":")
    action = action_of(event.tool_name, event.args, tools)
    if action.subject and action.kind != "mcp":
        return one_line(f"▸ {name}: {action.subject}", MAX_LINE_CHARS)
    inputs = event.args.items() if isinstance(event.args, Mapping) else ()
    shown = ", ".join(f"{key}={one_line(str(item), MAX_INPUT_CHARS)}" for key, item in inputs)
    return one_line(f"▸ {name}({shown})", MAX_LINE_CHARS)


def _final_result(event: Result) -> str:
    parts = [event.error_category or ("failure" if event.is_error else "success")]
    if event.cost is not None:
        parts += _usage(event.cost)
    mark = "✗" if event.is_error else "✓"
    output = f": {_text(event.output)}" if event.output else ""
    return one_line(f"{mark} {', '.join(parts)}{output}", MAX_LINE_CHARS)


def _usage(cost: CostData) -> Iterator[str]:
    if cost.num_turns is not None:
        yield f"{cost.num_turns} turns"
    if cost.duration_ms is not None:
        yield f"{cost.duration_ms / 1000:.1f} s"
    if cost.total_cost_usd is not None:
        yield f"${cost.total_cost_usd:.4f}"


def _compaction(event: Compaction) -> str:
    return f"context compacted ({event.compact_trigger}), from {event.pre_compact_tokens:,} tokens"


def _plan(event: Plan) -> str:
    done = sum(step.status == "completed" for step in event.steps)
    now = next((step.text for step in event.steps if step.status == "in_progress"), "")
    text = f"plan: {done} of {len(event.steps)} done"
    return one_line(f"{text}, now: {now}" if now else text, MAX_LINE_CHARS)


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = " ".join(str(part.get("text", "")) for part in value if isinstance(part, Mapping))
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return one_line(text, MAX_PART_CHARS)


_DESCRIPTIONS: Mapping[type, Callable[[Any], str]] = {
    Message: lambda event: _text(event.content),
    Reasoning: lambda event: f"… {_text(event.content)}" if event.content.strip() else "",
    Plan: _plan,
    ToolEnd: lambda event: f"{'✗' if event.is_error else '◂'} {_text(event.result)}",
    PermissionDecided: lambda event: one_line(
        f"{'allowed' if event.is_allowed else '✗ denied'}: {event.tool_name} ({event.reason})",
        MAX_LINE_CHARS,
    ),
    SessionInit: lambda event: f"session starts: model {one_line(event.model or 'unknown', 100)}",
    Result: _final_result,
    Error: lambda event: f"✗ {_text(event.message)}",
    Progress: lambda event: one_line(event.message, MAX_LINE_CHARS),
    Compaction: _compaction,
}


class Console:
    """A session listener that logs a line for each event, unless the log hides info."""

    def __init__(self, log: Log, tools: Mapping[str, ActionKind] = USUAL_TOOLS) -> None:
        """`tools` has the actions of the harness's own tools, by their name in lower case."""
        self._log = log
        self._describe: Mapping[type, Callable[[Any], str]] = {
            **_DESCRIPTIONS,
            ToolStart: partial(_tool_start, tools=tools),
        }
        self._is_shown = log.shows_info
        self._unexplained: str | None = None
        """The last record, until an event comes of it."""
        self._is_scheduled = False

    @listens_to(*_DESCRIPTIONS, ToolStart, RawStderr, lines="unexplained")
    def on_event(self, event: ProviderEvent) -> None:
        """Log one event, unless its line is empty."""
        if not self._is_shown:
            return
        describe = self._describe.get(type(event))
        if describe is not None:
            self._unexplained = None
            helper = getattr(event, "helper", None)
            if (text := describe(event)) and helper is not None:
                text = one_line(f"{helper_name(helper)}: {text}", MAX_LINE_CHARS)
            if text:
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
            self._log_record()
        self._unexplained = record
        if self._is_scheduled:
            return
        try:
            asyncio.get_running_loop().call_soon(self._end_step)
        except RuntimeError:  # no loop in this thread, and so no end of a step
            self._log_record()
        else:
            self._is_scheduled = True

    def _end_step(self) -> None:
        self._is_scheduled = False
        self._log_record()

    def _log_record(self) -> None:
        record, self._unexplained = self._unexplained, None
        if record is not None and (text := describe_record(record)):
            self._log.output(Event.SESSION_OUTPUT, text)


def describe_record(record: str) -> str:
    """Return one line for one record of a journal; empty if there is nothing to show."""
    if len(record) > MAX_PARSED_CHARS:
        return f"[{len(record):,} characters] {one_line(record, MAX_PART_CHARS)}"
    try:
        value = orjson.loads(record)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return one_line(record, MAX_LINE_CHARS)
    kind = value.get("type") or "event"
    if kind in ("stdout", "stderr"):  # the journal's form of plain text
        return one_line(str(value.get("content", "")), MAX_LINE_CHARS)
    return one_line(f"[{kind}] {one_line(record, MAX_PART_CHARS)}", MAX_LINE_CHARS)
