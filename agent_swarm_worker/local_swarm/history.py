"""Store events, and the history of tasks and agents: one row per change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.local_swarm.tables import EVENTS, TASK_LOGS

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store


def add_history(
    store: Store,
    event: str,
    *,
    agent_id: str | None = None,
    task_id: str | None = None,
    old: str | None = None,
    new: str | None = None,
    metadata: Document | None = None,
) -> None:
    """Add one row; `event` is a name of the public server, such as ``task_progress``."""
    store.insert(
        TASK_LOGS,
        {
            "eventType": event,
            "agentId": agent_id,
            "taskId": task_id,
            "oldValue": old,
            "newValue": new,
            # The wire carries metadata as JSON text, not as an object (docs/api.md 5.2).
            "metadata": orjson.dumps(metadata).decode() if metadata else None,
            "createdAt": store.now(),
        },
    )


def task_history(store: Store, task_id: str, limit: int) -> list[Document]:
    """Return the newest rows of a task, newest first."""
    where = "taskId = ? ORDER BY createdAt DESC, rowid DESC LIMIT ?"
    return store.find(TASK_LOGS, where, task_id, limit)


def record_event(store: Store, event: Document) -> Document:
    """Store one event with the server's time."""
    return store.insert(EVENTS, {"status": "ok", **event, "createdAt": store.now()})
