"""Follow a task through the API: show its status and the lines of its session log.

Only reading endpoints are used. A log line may be Claude's stream, a normalized event or plain
text; shown are messages, tool calls and terminal output.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from agent_swarm_worker.contract import Error, Helper, Message, Progress, ToolStart
from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.providers.subprocess.translate import read_normalized
from agent_swarm_worker.reporting.labels import helper_name, label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.api.wire.resources import LogEntry
    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.cli.view import View

INTERVAL_S = 0.4
TICK_S = 0.1
LAST_LINES_S = 1.5
"""Wait this long after the end for the last lines and the cost."""
PATIENCE_S = 120.0
"""Tolerated outage of the API while following; longer than its restart takes."""


class Follower:
    """Shows one task until it has ended."""

    def __init__(self, client: SwarmClient, view: View, task_id: str) -> None:
        self._client = client
        self._view = view
        self._task_id = task_id
        self._shown: set[tuple[str, int, int]] = set()
        self._away_since_s: float | None = None

    async def run(self) -> Task:
        """Follow to the end; return the task as it ended.

        Raises:
            ApiError: the first request failed, or an outage lasted longer than `PATIENCE_S`.
        """
        task = await self._look()
        was_running = False
        while not task.is_terminal:
            was_running = True
            await self._wait(INTERVAL_S)
            task = await self._look_with_patience() or task
        if was_running:
            await self._last_lines()
        return task

    async def costs(self) -> list[dict[str, Any]]:
        """Return the cost rows of the task."""
        try:
            return list(await self._client.records.costs_of(task_id=self._task_id) or ())
        except ApiError:
            return []

    async def _look(self) -> Task:
        task = await self._client.tasks.get(self._task_id)
        for entry in await self._new_lines():
            for mark, text in render_line(entry.content):
                self._view.say(mark, text)
        self._view.now(f"{task.status}: {task.progress}" if task.progress else task.status)
        return task

    async def _look_with_patience(self) -> Task | None:
        try:
            task = await self._look()
        except ApiError as error:
            if isinstance(error, ApiRefused) and not error.is_server_fault:
                raise
            now_s = anyio.current_time()
            if self._away_since_s is None:
                self._away_since_s = now_s
                self._view.say("!", f"waiting for the API: {error}")
            elif now_s - self._away_since_s > PATIENCE_S:
                raise
            self._view.now("waiting for the API")
            return None
        self._away_since_s = None
        return task

    async def _new_lines(self) -> list[LogEntry]:
        entries = await self._client.tasks.session_logs(self._task_id)
        fresh = []
        for entry in entries:
            key = (entry.session_id, entry.iteration, entry.line_number)
            if key not in self._shown:
                self._shown.add(key)
                fresh.append(entry)
        return sorted(fresh, key=lambda e: (e.created_at, e.iteration, e.line_number))

    async def _last_lines(self) -> None:
        with anyio.move_on_after(LAST_LINES_S):
            while not await self.costs():
                await self._wait(INTERVAL_S)
        with contextlib.suppress(ApiError):  # the outcome is known already
            await self._look()

    async def _wait(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / TICK_S))):
            await anyio.sleep(TICK_S)
            self._view.tick()


def render_line(line: str) -> Iterator[tuple[str, str]]:
    """Yield a mark and a text for each message or tool call in one line of a session log."""
    try:
        native = orjson.loads(line)
    except orjson.JSONDecodeError:
        native = line
    speaker = _speaker(native)
    for mark, text in _render(native, line):
        if text.strip():
            yield mark, f"{speaker}{text}"


def _speaker(native: Any) -> str:
    """Return the helper of a line, in claude's or in normalized form; empty for the main agent."""
    if not isinstance(native, dict):
        return ""
    event = read_normalized(native)
    helper = getattr(event, "helper", None)
    if helper is None and native.get("type") == "assistant" and native.get("parent_tool_use_id"):
        helper = Helper("", str(native.get("task_description") or ""))
    return f"{helper_name(helper)}: " if helper else ""


def _render(native: Any, line: str) -> Iterator[tuple[str, str]]:
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
