"""Serve reports on running tasks and changes of them (docs/api.md 5.5 to 5.11).

How a task ends is in `finish`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.local_swarm import finish, history, tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route
from agent_swarm_worker.local_swarm.scrub import scrub
from agent_swarm_worker.local_swarm.tables import TASKS
from agent_swarm_worker.local_swarm.tasks import TERMINAL
from agent_swarm_worker.local_swarm.validation import (
    Choice,
    Either,
    Number,
    Record,
    Shape,
    Text,
)

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

RECENT_S = 300
"""A cancelled task is listed for this long to agents that do not ask for it by id."""

PROGRESS = Shape(progress=Text(1))
SESSION = Either(
    Shape(
        claudeSessionId=Text(1),
        provider=Choice("devin"),
        model=Text().optional(),
        providerMeta=Shape(
            sessionUrl=Text(), maxAcuLimit=Number().optional(), acuCostUsd=Number().optional()
        ),
    ),
    Shape(
        claudeSessionId=Text(1),
        provider=Choice("claude", "codex", "pi", "claude-managed", "opencode").optional(),
        model=Text().optional(),
        providerMeta=Shape().optional(),
        harnessVariant=Text().optional(),
        harnessVariantMeta=Record().optional(),
    ),
)
VCS = Shape(
    vcsProvider=Choice("github", "gitlab"),
    vcsRepo=Text(),
    vcsNumber=Number(above=0, integer=True),
    vcsUrl=Text(form="uri"),
)
OF_TASK = Shape(taskId=Text().optional())


def progress(store: Store, task: Document, text: str) -> Document:
    """Store the progress text of a task.

    As on the public server, this starts any task that has not ended, even a paused one
    (docs/api.md 5.9).
    """
    scrubbed = scrub(store, text)
    status = task["status"] if task["status"] in TERMINAL else "in_progress"
    # Not `update`: the public server's history has no status change for progress.
    changes = {"progress": scrubbed, "status": status, "lastUpdatedAt": store.now()}
    changed = store.update(TASKS, task["id"], **changes)
    about = {"agent_id": task["agentId"], "task_id": task["id"]}
    history.add_history(store, "task_progress", **about, new=scrubbed)
    return changed


def _progress(call: Call) -> Document:
    progress(call.store, tasks.require(call.store, call.path["id"]), call.body["progress"])
    return {"success": True}


def _session(call: Call) -> Document:
    task = tasks.require(call.store, call.path["id"])
    return tasks.update(call.store, task, **call.body)


def _vcs(call: Call) -> Document:
    return tasks.update(call.store, tasks.require(call.store, call.path["id"]), **call.body)


def _cancel(call: Call) -> Document:
    task = tasks.require(call.store, call.path["id"])
    if task["status"] in TERMINAL:
        raise Refusal(400, f"Cannot cancel task with status '{task['status']}'")
    cancelled = finish.cancel(call.store, task, _reason(call.content))
    return {"success": True, "task": cancelled}


def _reason(content: bytes) -> str | None:
    # The public route declares no body, and ignores one that is not JSON.
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    reason = body.get("reason") if isinstance(body, dict) else None
    return reason if isinstance(reason, str) else None


def _pause(call: Call) -> Document:
    task = _own_in(call, "in_progress")
    return {
        "success": True,
        "task": tasks.update(call.store, task, status="paused", wasPaused=True),
    }


def _resume(call: Call) -> Document:
    task = _own_in(call, "paused")
    return {"success": True, "task": tasks.update(call.store, task, status="in_progress")}


def _own_in(call: Call, status: str) -> Document:
    task = tasks.require(call.store, call.path["id"])
    if call.agent_id and task["agentId"] != call.agent_id:
        raise Refusal(403, "Task belongs to another agent")
    if task["status"] != status:
        raise Refusal(400, f"Task status is '{task['status']}', not '{status}'")
    return task


def _cancelled(call: Call) -> Document:
    store, task_id = call.store, call.query.get("taskId")
    if not task_id:
        where = (
            "agentId = ? AND status = 'cancelled' AND finishedAt > ?"
            " ORDER BY finishedAt DESC, rowid DESC"
        )
        return {"cancelled": store.find(TASKS, where, call.agent_id, store.ago(RECENT_S))}
    task = tasks.get(store, task_id)
    if task is None or task["status"] != "cancelled":
        return {"cancelled": []}
    shown = ("id", "task", "failureReason")
    return {"cancelled": [{name: task[name] for name in shown if name in task}]}


ROUTES = (
    Route("POST", "/api/tasks/{id}/progress", _progress, body=PROGRESS),
    Route("PUT", "/api/tasks/{id}/session", _session, body=SESSION),
    Route("PATCH", "/api/tasks/{id}/vcs", _vcs, body=VCS),
    Route("POST", "/api/tasks/{id}/cancel", _cancel),
    Route("POST", "/api/tasks/{id}/pause", _pause),
    Route("POST", "/api/tasks/{id}/resume", _resume),
    Route("GET", "/cancelled-tasks", _cancelled, agent="known", query=OF_TASK),
)
