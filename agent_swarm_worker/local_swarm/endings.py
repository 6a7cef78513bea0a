"""The four ways a task ends, and what always follows.

A task ends once. With it go its undelivered steering messages (promoted), the tasks that depend on
it unless it was completed (failed), and the place it took in its agent's load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, steering, tasks
from agent_swarm_worker.local_swarm.scrub import scrub
from agent_swarm_worker.local_swarm.tables import TASKS

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

MAX_ID_CHARS_SHOWN = 8


def complete(store: Store, task: Document, output: str | None) -> Document:
    """End a task well. `output` is scrubbed; nothing is stored if there is none."""
    return _end(store, task, "completed", output=scrub(store, output) if output else None)


def fail(store: Store, task: Document, reason: str) -> Document:
    """End a task badly."""
    return _end(store, task, "failed", failureReason=scrub(store, reason))


def cancel(store: Store, task: Document, reason: str | None = None) -> Document:
    """End a task because somebody asked for it; its worker asks for it (docs/api.md 5.6)."""
    return _end(store, task, "cancelled", failureReason=reason or "Cancelled by user")


def supersede(store: Store, task: Document) -> Document:
    """End a task in favour of another one that carries it on."""
    return _end(store, task, "superseded")


def _end(store: Store, task: Document, status: str, **texts: str | None) -> Document:
    task = tasks.known(store, task["id"])
    if task["status"] in tasks.TERMINAL:
        # It has ended meanwhile, perhaps with another one that it depends on.
        return task
    # A text that is not given must not wipe out one that is there.
    given = {name: text for name, text in texts.items() if text is not None}
    ended = tasks.touch(store, task, status=status, finishedAt=store.now(), **given)
    steering.promote_pending(store, task["id"])
    if status != "completed":
        _fail_dependents(store, ended)
    agents.settle(store, task["agentId"])
    return ended


def _fail_dependents(store: Store, task: Document) -> None:
    reason = f"Blocked dependency {task['id'][:MAX_ID_CHARS_SHOWN]} was {task['status']}"
    # This comes to an end even if tasks depend on each other in a circle: each ends only once.
    where = "EXISTS (SELECT 1 FROM json_each(dependsOn) WHERE value = ?)"
    for dependent in store.find(TASKS, where, task["id"]):
        fail(store, dependent, reason)
