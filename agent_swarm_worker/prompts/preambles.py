"""Describe earlier work in the prompt of a task that continues it.

A *resume* task replaces an interrupted session; its preamble quotes the original description, tool
calls, artifacts and undelivered messages (docs/api.md 7.5). A *follow-up* task continues an ended
one; its preamble quotes that task's outcome and names older tasks (docs/api.md 7.6).

Budgets are in tokens. The description of a resume task is never cut; one that is longer than its
share of the budget takes the room of logs and artifacts. Links to artifacts begin with `app_url`.
Without `has_mcp`, the agent has no swarm tools, and the text names none.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import orjson

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.guards.tokens import count_tokens, truncate_to_tokens
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.prompts.render import clean, join
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from agent_swarm_worker.api.client import Steering
    from agent_swarm_worker.api.tasks import Tasks
    from agent_swarm_worker.api.wire.resources import LogEntry, SteeringMessage
    from agent_swarm_worker.api.wire.tasks import Attachment, Task
    from agent_swarm_worker.contract import Redactor

MAX_RESUMED = 10
"""Interrupted tasks that are followed back to the original one."""
MAX_ANCESTORS = 5
MAX_LOG_LINES = 50
MAX_ARTIFACTS = 10
WALK_TIMEOUT_S = 20.0
"""For all ancestors together."""
_LOGS_PER_TASK = 200
"""More than are shown: the server returns those of the largest uploads, not the newest ones."""
_DESCRIPTION_SHARE, _LOG_SHARE, _ARTIFACT_SHARE, _STEERING_SHARE = 0.4, 0.3, 0.1, 0.1
_OUTCOME_SHARE = 0.55
_SNIPPET_CHARS = 120
_PARENT_CHARS = 600
_ANCESTOR_CHARS = 200
_UNDELIVERED = frozenset({"pending", "promoted"})
_NOTICE = "[Earlier history is left out here.]"


@dataclass(slots=True)
class _History:
    chain: list[Task]
    logs: list[LogEntry]
    messages: list[SteeringMessage]


async def resume_preamble(
    server: Tasks,
    task: Task,
    redactor: Redactor,
    *,
    max_tokens: int,
    app_url: str = "",
    steering: Steering | None = None,
    has_mcp: bool = True,
) -> str:
    """Return the section on the interrupted work; empty if its task cannot be read.

    `steering` lists undelivered messages; ``None`` if steering is off.
    """
    history = _History([], [], [])
    with anyio.move_on_after(WALK_TIMEOUT_S):
        await _ancestors(server, task, history.chain, limit=MAX_RESUMED, only_interrupted=True)
        await _fetch_details(server, steering, history)
    if not history.chain:
        return ""
    original = history.chain[-1].id
    pointer = f'The original in full: `get-task-details` with the ID "{original}".'
    return _compose(history, redactor, max_tokens, app_url, pointer if has_mcp else "")


async def follow_up_preamble(
    server: Tasks,
    task: Task,
    redactor: Redactor,
    *,
    max_tokens: int,
    app_url: str = "",
    has_mcp: bool = True,
) -> str:
    """Return the section on prior tasks; empty if there is no parent or it cannot be read."""
    chain: list[Task] = []
    with anyio.move_on_after(WALK_TIMEOUT_S):
        await _ancestors(server, task, chain, limit=MAX_ANCESTORS)
    if not chain:
        return ""
    parent = chain[0]
    outcome = _outcome(parent, redactor, int(max_tokens * _OUTCOME_SHARE), has_mcp=has_mcp)
    artifacts = _artifact_lines(parent, redactor, app_url)
    text = join(
        "## Prior Conversation Context",
        "This task follows an earlier one. Build on it and do not repeat it.",
        f"Previous task `{parent.id}`: {one_line(_scrubbed(redactor, parent.text), _PARENT_CHARS)}",
        outcome,
        "Artifacts:\n" + "\n".join(artifacts) if artifacts else "",
        f'More: `get-task-details` with the ID "{parent.id}".' if has_mcp else "",
    )
    older = [
        f"- `{ancestor.id}`: {one_line(_scrubbed(redactor, ancestor.text), _ANCESTOR_CHARS)}"
        for ancestor in chain[1:]
    ]
    while older:
        whole = join(text, "Older tasks in this line, the nearest first:\n\n" + "\n".join(older))
        if count_tokens(whole) <= max_tokens:
            return whole
        older.pop()
    return truncate_to_tokens(text, max_tokens, notice=_NOTICE)


async def _ancestors(
    server: Tasks,
    task: Task,
    found: list[Task],
    *,
    limit: int,
    only_interrupted: bool = False,
) -> None:
    """Append the parent of `task`, its parent and so on to `found`, nearest first.

    Stops after `limit` tasks and at a parent that cannot be read or was seen before; with
    `only_interrupted` also after a task that is no resume task. A caller that times out has the
    nearest ones in `found`.
    """
    seen = {task.id}
    next_id = task.parent_task_id
    while next_id and next_id not in seen and len(found) < limit:
        seen.add(next_id)
        try:
            parent = await server.get(next_id)
        except ApiError as error:
            Log().debug(Event.PROMPT_FALLBACK, left_out=f"task {next_id}", why=str(error))
            return
        found.append(parent)
        if only_interrupted and parent.task_type != "resume":
            return
        next_id = parent.parent_task_id


async def _fetch_details(server: Tasks, steering: Steering | None, history: _History) -> None:
    """Read logs and messages of the tasks in `history`; those that cannot be read stay out."""

    async def logs_of(task_id: str) -> None:
        with suppress(ApiError):
            history.logs += await server.session_logs(task_id, limit=_LOGS_PER_TASK)

    async def messages_of(task_id: str) -> None:
        with suppress(ApiError):
            history.messages += await steering.of_task(task_id) if steering else ()

    async with anyio.create_task_group() as tasks:
        for member in history.chain:
            tasks.start_soon(logs_of, member.id)
            tasks.start_soon(messages_of, member.id)


def _compose(history: _History, redactor: Redactor, budget: int, app_url: str, pointer: str) -> str:
    parent, original = history.chain[0], history.chain[-1]
    description = _scrubbed(redactor, original.text)
    depth = f" It was interrupted {len(history.chain)} times." if len(history.chain) > 1 else ""
    head = join(
        "## Resuming Interrupted Task",
        "An earlier session began this task and was interrupted. Extend what it finished; do not"
        f" do it again.{depth} The original task is `{original.id}`.",
        f"### Original Task Description\n\n{description}",
    )
    room = budget - count_tokens(f"{head}\n\n") - count_tokens(f"{pointer}\n\n")
    overflow = max(0, count_tokens(description) - int(budget * _DESCRIPTION_SHARE)) // 2
    # In order of priority: undelivered messages get room first.
    messages, room = _section(
        "### Undelivered Steering Messages",
        _message_lines(history.messages, redactor),
        int(budget * _STEERING_SHARE),
        room,
    )
    artifacts, room = _section(
        "### Artifacts In Flight",
        _artifact_lines(parent, redactor, app_url),
        int(budget * _ARTIFACT_SHARE) - overflow,
        room,
        keep_first=True,
    )
    logs, room = _section(
        "### Recent Tool Calls",
        _log_lines(history.logs, redactor),
        int(budget * _LOG_SHARE) - overflow,
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
        if size + cost > min(share, room):
            break
        size += cost
        kept.append(line)
    if not kept:
        return "", room
    text = heading + "\n\n" + "\n".join(kept if keep_first else reversed(kept))
    return text, room - size


def _message_lines(messages: list[SteeringMessage], redactor: Redactor) -> list[str]:
    undelivered = {item.id: item for item in messages if item.status in _UNDELIVERED}
    ordered = sorted(undelivered.values(), key=lambda item: item.created_at)
    return [f"- {one_line(_scrubbed(redactor, item.body))}" for item in ordered]


def _log_lines(logs: list[LogEntry], redactor: Redactor) -> list[str]:
    newest = sorted(logs, key=lambda entry: (entry.created_at, entry.iteration, entry.line_number))
    return [
        f"[{entry.created_at[11:19] or '--:--:--'}] {summary}"
        for entry in newest[-MAX_LOG_LINES:]
        if (summary := _summary(entry.content, redactor))
    ]


def _summary(content: str, redactor: Redactor) -> str:
    """Return the tool calls of a log line with their targets, else its beginning."""
    try:
        native = redactor.leaves(orjson.loads(content))
    except orjson.JSONDecodeError:
        return one_line(_scrubbed(redactor, content), _SNIPPET_CHARS)
    calls = [_tool_call(block) for block in _blocks(native)]
    tools = "; ".join(call for call in calls if call)
    return one_line(tools) if tools else one_line(orjson.dumps(native).decode(), _SNIPPET_CHARS)


def _blocks(native: Any) -> list[Any]:
    message = native.get("message") if isinstance(native, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, list) else [native]


def _tool_call(block: Any) -> str:
    """Return the tool and target of a block in claude's format or in that of our events."""
    match block:
        case {"type": "tool_use", "name": str(name)}:
            inputs = block.get("input")
        case {"type": "tool_start", "toolName": str(name)}:
            inputs = block.get("args")
        case _:
            return ""
    args = inputs if isinstance(inputs, dict) else {}
    targets = (args.get(key) for key in ("file_path", "path", "command"))
    target = next((value for value in targets if isinstance(value, str) and value), "")
    return f"{name} {one_line(target, _SNIPPET_CHARS)}".strip()


def _outcome(parent: Task, redactor: Redactor, max_tokens: int, *, has_mcp: bool) -> str:
    outcome = _scrubbed(redactor, parent.output or parent.failure_reason or parent.progress)
    if not outcome:
        return "It has no recorded outcome yet."
    notice = "(Cut; `get-task-details` has all of it.)" if has_mcp else "(Cut.)"
    return f"Outcome:\n{truncate_to_tokens(outcome, max_tokens, notice=notice)}"


def _scrubbed(redactor: Redactor, text: str | None) -> str:
    """Return `text` without secrets and control characters; to be called before any cut."""
    return redactor.text(clean(text or "")).strip()


def _artifact_lines(task: Task, redactor: Redactor, app_url: str) -> list[str]:
    """Return a line per attachment of `task`: name, location, description (docs/api.md 5.12)."""
    lines = []
    for item in [item for item in task.attachments if item.name][:MAX_ARTIFACTS]:
        name = one_line(_scrubbed(redactor, item.name), 200)
        note = _scrubbed(redactor, item.description or str(item.raw.get("intent") or ""))
        text = f"- {name}: {_scrubbed(redactor, _location(item, task.id, app_url))}"
        lines.append(f"{text} ({one_line(note, 200)})" if note else text)
    return lines


def _location(item: Attachment, task_id: str, app_url: str) -> str:
    base = app_url.rstrip("/")
    if item.url:
        return one_line(item.url)
    if item.kind == "page" and item.page_id:
        return f"{base}/pages/{quote(item.page_id, safe='')}"
    if item.kind == "agent-fs" and item.path:
        return f"agent-fs:{one_line(item.path)}"
    task, file = quote(task_id, safe=""), quote(item.id, safe="")
    return f"{base}/api/fs/tasks/{task}/files/{file}/raw"
