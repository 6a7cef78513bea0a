"""What both preambles share: walking a task's ancestors, and naming what they left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.prompts.texts import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.swarm.wire import Attachment, LogEntry, Task

MAX_ARTIFACTS = 10
WALK_TIMEOUT_S = 20.0
"""For all ancestors together; what was found by then is used."""


class TaskSource(Protocol):
    """The server, as far as earlier tasks go; `swarm.tasks` is one. Raises `ApiError`."""

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
