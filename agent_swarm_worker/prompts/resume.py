"""What a resume task is told about the session it replaces (docs/api.md 7.5).

The original description is never cut. What else fits around it is decided by shares of a budget,
and a description that is longer than its share takes the room of logs and artifacts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import orjson

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.guards.tokens import count_tokens
from agent_swarm_worker.prompts.history import (
    WALK_TIMEOUT_S,
    TaskSource,
    ancestors,
    artifact_lines,
    scrubbed,
)
from agent_swarm_worker.prompts.texts import join, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.swarm.wire import LogEntry, SteeringMessage, Task

MAX_CHAIN = 10
MAX_LOG_LINES = 50
_LOGS_PER_TASK = 200
"""More than are shown: the server returns those of the largest uploads, not the newest ones."""
_DESCRIPTION_SHARE, _LOG_SHARE, _ARTIFACT_SHARE, _STEERING_SHARE = 0.4, 0.3, 0.1, 0.1
_SNIPPET_CHARS = 120
_UNDELIVERED = frozenset({"pending", "promoted"})


class SteeringSource(Protocol):
    """The server, as far as steering goes; `swarm.steering` is one. Raises `ApiError`."""

    async def of_task(self, task_id: str) -> Sequence[SteeringMessage]:
        """Return every message a task ever got (docs/api.md 12.3)."""
        ...


@dataclass(slots=True)
class _History:
    """What could be learnt about the interrupted work."""

    chain: list[Task]
    logs: list[LogEntry]
    messages: list[SteeringMessage]


async def resume_preamble(
    source: TaskSource,
    task: Task,
    redactor: Redactor,
    *,
    max_tokens: int,
    app_url: str = "",
    steering: SteeringSource | None = None,
    has_mcp: bool = True,
) -> str:
    """Return the section on the interrupted work; empty if its task cannot be read.

    Args:
        source: the server.
        task: the resume task.
        redactor: takes out secrets, before anything is cut.
        max_tokens: what the section may cost; only the description may go beyond.
        app_url: base URL for links to artifacts.
        steering: where undelivered messages are; ``None`` if steering is off.
        has_mcp: whether the agent has the swarm's tools, so that one can be pointed to.
    """
    history = _History([], [], [])
    with anyio.move_on_after(WALK_TIMEOUT_S):
        await ancestors(source, task, history.chain, limit=MAX_CHAIN, goes_on=_is_resume)
        await _fetch_details(source, steering, history)
    if not history.chain:
        return ""
    original = history.chain[-1].id
    pointer = f'The original in full: `get-task-details` with the ID "{original}".'
    return _compose(history, redactor, max_tokens, app_url, pointer if has_mcp else "")


def _is_resume(task: Task) -> bool:
    return task.task_type == "resume"


async def _fetch_details(
    source: TaskSource, steering: SteeringSource | None, history: _History
) -> None:
    async def logs_of(task_id: str) -> None:
        try:
            history.logs += await source.session_logs(task_id, limit=_LOGS_PER_TASK)
        except ApiError:
            return  # the section is shorter then

    async def messages_of(task_id: str) -> None:
        try:
            history.messages += await steering.of_task(task_id) if steering else ()
        except ApiError:
            return

    async with anyio.create_task_group() as tasks:
        for member in history.chain:
            tasks.start_soon(logs_of, member.id)
            tasks.start_soon(messages_of, member.id)


def _compose(history: _History, redactor: Redactor, budget: int, app_url: str, pointer: str) -> str:
    parent, original = history.chain[0], history.chain[-1]
    description = scrubbed(redactor, original.text)
    depth = f" It was interrupted {len(history.chain)} times." if len(history.chain) > 1 else ""
    head = join(
        "## Resuming Interrupted Task",
        "An earlier session began this task and was interrupted. Extend what it finished; do not"
        f" do it again.{depth} The original task is `{original.id}`.",
        f"### Original Task Description\n\n{description}",
    )
    room = budget - count_tokens(f"{head}\n\n") - count_tokens(f"{pointer}\n\n")
    overflow = max(0, count_tokens(description) - int(budget * _DESCRIPTION_SHARE)) // 2
    # What somebody still waits to be heard comes first, should the room not do for all three.
    messages, room = _section(
        "### Undelivered Steering Messages",
        _message_lines(history.messages, redactor),
        min(int(budget * _STEERING_SHARE), room),
        room,
    )
    artifacts, room = _section(
        "### Artifacts In Flight",
        artifact_lines(parent, redactor, app_url),
        min(int(budget * _ARTIFACT_SHARE) - overflow, room),
        room,
        keep_first=True,
    )
    logs, room = _section(
        "### Recent Tool Calls",
        _log_lines(history.logs, redactor),
        min(int(budget * _LOG_SHARE) - overflow, room),
        room,
    )
    return join(head, logs, artifacts, messages, pointer)


def _section(
    heading: str, lines: list[str], share: int, room: int, *, keep_first: bool = False
) -> tuple[str, int]:
    """Return a section of at most `share` tokens, and the room that is left after it."""
    size = count_tokens(f"{heading}\n\n\n\n")
    kept: list[str] = []
    for line in lines if keep_first else reversed(lines):
        cost = count_tokens(f"{line}\n")
        if size + cost > share:
            break
        size += cost
        kept.append(line)
    if not kept:
        return "", room
    text = heading + "\n\n" + "\n".join(kept if keep_first else reversed(kept))
    return text, room - size


def _message_lines(messages: list[SteeringMessage], redactor: Redactor) -> list[str]:
    open_ones = {item.id: item for item in messages if item.status in _UNDELIVERED}
    ordered = sorted(open_ones.values(), key=lambda item: item.created_at)
    return [f"- {one_line(scrubbed(redactor, item.body))}" for item in ordered]


def _log_lines(logs: list[LogEntry], redactor: Redactor) -> list[str]:
    newest = sorted(logs, key=lambda entry: (entry.created_at, entry.iteration, entry.line_number))
    lines = []
    for entry in newest[-MAX_LOG_LINES:]:
        what = _summary(entry.content, redactor)
        if what:
            lines.append(f"[{entry.created_at[11:19] or '--:--:--'}] {what}")
    return lines


def _summary(content: str, redactor: Redactor) -> str:
    """Return what a line of a session's log says: a tool with its target, or its beginning."""
    try:
        native = redactor.leaves(orjson.loads(content))
    except orjson.JSONDecodeError:
        return one_line(scrubbed(redactor, content), _SNIPPET_CHARS)
    calls = [_call(block) for block in _blocks(native)]
    tools = "; ".join(call for call in calls if call)
    return one_line(tools or orjson.dumps(native).decode(), None if tools else _SNIPPET_CHARS)


def _blocks(native: Any) -> list[Any]:
    message = native.get("message") if isinstance(native, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, list) else [native]


def _call(block: Any) -> str:
    """Return a tool call as claude writes it, or as our own events do."""
    match block:
        case {"type": "tool_use", "name": str(name)}:
            inputs = block.get("input")
        case {"type": "tool_start", "toolName": str(name)}:
            inputs = block.get("args")
        case _:
            return ""
    known = inputs if isinstance(inputs, dict) else {}
    targets = (known.get(key) for key in ("file_path", "path", "command"))
    target = next((value for value in targets if isinstance(value, str) and value), "")
    return f"{name} {one_line(target, _SNIPPET_CHARS)}".strip()
