"""What a resume task is told about the session it replaces (docs/api.md 7.5).

The original description is never cut. What else fits around it is decided by shares of a budget,
and a description that is longer than its share takes the room of logs and artifacts.

What both preambles share: walking a task's ancestors, and naming what they left behind.

What a follow-up task is told about the tasks it follows (docs/api.md 7.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import anyio
import orjson

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.guards.tokens import count_tokens, truncate_to_tokens
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.prompts.texts import clean, join
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent_swarm_worker.api.wire import Attachment, LogEntry, SteeringMessage, Task
    from agent_swarm_worker.contract import Redactor

MAX_CHAIN = 10
MAX_LOG_LINES = 50
_LOGS_PER_TASK = 200
"""More than are shown: the server returns those of the largest uploads, not the newest ones."""
_DESCRIPTION_SHARE, _LOG_SHARE, _ARTIFACT_SHARE, _STEERING_SHARE = 0.4, 0.3, 0.1, 0.1
_SNIPPET_CHARS = 120
_UNDELIVERED = frozenset({"pending", "promoted"})


class SteeringSource(Protocol):
    """The server, as far as steering goes; `api.client` is one. Raises `ApiError`."""

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
    return one_line(tools) if tools else one_line(orjson.dumps(native).decode(), _SNIPPET_CHARS)


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


MAX_ARTIFACTS = 10
WALK_TIMEOUT_S = 20.0
"""For all ancestors together; what was found by then is used."""


class TaskSource(Protocol):
    """The server, as far as earlier tasks go; `api.tasks` is one. Raises `ApiError`."""

    async def get(self, task_id: str) -> Task:
        """Return a task (docs/api.md 5.2)."""
        ...

    async def session_logs(self, task_id: str, *, limit: int) -> Sequence[LogEntry]:
        """Return lines of its sessions (docs/api.md 8.4)."""
        ...


async def ancestors(
    source: TaskSource,
    task: Task,
    found: list[Task],
    *,
    limit: int,
    goes_on: Callable[[Task], bool] = lambda _: True,
) -> None:
    """Put the parent of `task`, its parent and so on into `found`, the nearest first.

    Stops at a parent that is missing, cannot be read or was seen before.

    Args:
        source: the server.
        task: where to start; not included.
        found: filled as they arrive, so that a caller that runs out of time has the first ones.
        limit: how many at most.
        goes_on: false for an ancestor whose own parents are of no interest.
    """
    seen = {task.id}
    next_id = task.parent_task_id
    while next_id and next_id not in seen and len(found) < limit:
        seen.add(next_id)
        try:
            parent = await source.get(next_id)
        except ApiError as error:
            Log().debug(Event.PROMPT_FALLBACK, left_out=f"task {next_id}", why=str(error))
            return
        found.append(parent)
        next_id = parent.parent_task_id if goes_on(parent) else None


def scrubbed(redactor: Redactor, text: str | None) -> str:
    """Return `text` without secrets and control characters.

    To be done before any cutting: half a secret is not recognised.
    """
    return redactor.text(clean(text or "")).strip()


def artifact_lines(task: Task, redactor: Redactor, app_url: str) -> list[str]:
    """Return one line per attachment of `task`: its name, where it is, what it is.

    Args:
        task: as `TaskSource.get` returns it.
        redactor: takes secrets out of names and links.
        app_url: base URL of the dashboard; links start there (docs/api.md 5.12).
    """
    lines = []
    for item in [item for item in task.attachments if item.name][:MAX_ARTIFACTS]:
        note = item.description or str(item.raw.get("intent") or "")
        text = f"- {one_line(item.name, 200)}: {_pointer(item, task.id, app_url)}"
        lines.append(scrubbed(redactor, f"{text} ({one_line(note, 200)})" if note else text))
    return lines


def _pointer(item: Attachment, task_id: str, app_url: str) -> str:
    base = app_url.rstrip("/")
    if item.url:
        return one_line(item.url)
    if item.kind == "page" and item.page_id:
        return f"{base}/pages/{quote(item.page_id, safe='')}"
    if item.kind == "agent-fs" and item.path:
        return f"agent-fs:{one_line(item.path)}"
    task, file = quote(task_id, safe=""), quote(item.id, safe="")
    return f"{base}/api/fs/tasks/{task}/files/{file}/raw"


MAX_ANCESTORS = 5
_PARENT_CHARS = 600
_ANCESTOR_CHARS = 200
_OUTCOME_SHARE = 0.55
_NOTICE = "[Earlier history is left out here.]"


async def follow_up_preamble(
    source: TaskSource,
    task: Task,
    redactor: Redactor,
    *,
    max_tokens: int,
    app_url: str = "",
    has_mcp: bool = True,
) -> str:
    """Return the section on prior tasks; empty if there is no parent or it cannot be read.

    Args:
        source: the server.
        task: the follow-up.
        redactor: takes out secrets, before anything is cut.
        max_tokens: what the section may cost.
        app_url: base URL for links to artifacts.
        has_mcp: whether the agent has the swarm's tools, so that one can be pointed to.
    """
    chain: list[Task] = []
    with anyio.move_on_after(WALK_TIMEOUT_S):
        await ancestors(source, task, chain, limit=MAX_ANCESTORS)
    if not chain:
        return ""
    outcome = _outcome(chain[0], redactor, int(max_tokens * _OUTCOME_SHARE), has_mcp=has_mcp)
    text = _parent_section(chain[0], redactor, app_url, outcome, has_mcp=has_mcp)
    older = [
        f"- `{ancestor.id}`: {one_line(scrubbed(redactor, ancestor.text), _ANCESTOR_CHARS)}"
        for ancestor in chain[1:]
    ]
    while older:
        whole = join(text, "Older tasks in this line, the nearest first:\n\n" + "\n".join(older))
        if count_tokens(whole) <= max_tokens:
            return whole
        older.pop()
    return truncate_to_tokens(text, max_tokens, notice=_NOTICE)


def _outcome(parent: Task, redactor: Redactor, max_tokens: int, *, has_mcp: bool) -> str:
    outcome = scrubbed(redactor, parent.output or parent.failure_reason or parent.progress)
    if not outcome:
        return "It has no recorded outcome yet."
    notice = "(Cut; `get-task-details` has all of it.)" if has_mcp else "(Cut.)"
    return f"Outcome:\n{truncate_to_tokens(outcome, max_tokens, notice=notice)}"


def _parent_section(
    parent: Task, redactor: Redactor, app_url: str, outcome: str, *, has_mcp: bool
) -> str:
    artifacts = artifact_lines(parent, redactor, app_url)
    return join(
        "## Prior Conversation Context",
        "This task follows an earlier one. Build on it and do not repeat it.",
        f"Previous task `{parent.id}`: {one_line(scrubbed(redactor, parent.text), _PARENT_CHARS)}",
        outcome,
        "Artifacts:\n" + "\n".join(artifacts) if artifacts else "",
        f'More: `get-task-details` with the ID "{parent.id}".' if has_mcp else "",
    )
