"""Reports on a task while it runs, and what others do to it (docs/api.md 5.5 to 5.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.local_swarm import endings, task_log, tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route
from agent_swarm_worker.local_swarm.fields import Choice, Number, Text
from agent_swarm_worker.local_swarm.scrub import scrub
from agent_swarm_worker.local_swarm.tables import TASKS
from agent_swarm_worker.local_swarm.validation import Either, Record, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

RECENT_S = 300
"""How long a cancelled task is shown to an agent that does not ask for one by id."""

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
    vcsNumber=Number(above=0, whole=True),
    vcsUrl=Text(form="uri"),
)
OF_TASK = Shape(taskId=Text().optional())


def progress(store: Store, task: Document, text: str) -> Document:
    """Store a word on how it goes.

    The public server lets progress start any task that has not ended, even a paused one
    (docs/api.md 5.9).
    """
    kept = scrub(store, text)
    status = task["status"] if task["status"] in tasks.TERMINAL else "in_progress"
    # Not `touch`: that progress set a task going is not in the public server's history.
    now = store.now()
    changed = store.update(TASKS, task["id"], progress=kept, status=status, lastUpdatedAt=now)
    task_log.note(store, "task_progress", agent_id=task["agentId"], task_id=task["id"], new=kept)
    return changed


# --- routes
def _progress(call: Call) -> Document:
    progress(call.store, tasks.known(call.store, call.path["id"]), call.body["progress"])
    return {"success": True}


def _session(call: Call) -> Document:
    task = tasks.known(call.store, call.path["id"])
    return tasks.touch(call.store, task, **call.body)


def _vcs(call: Call) -> Document:
    return tasks.touch(call.store, tasks.known(call.store, call.path["id"]), **call.body)


def _cancel(call: Call) -> Document:
    task = tasks.known(call.store, call.path["id"])
    if task["status"] in tasks.TERMINAL:
        raise Refusal(400, f"Cannot cancel task with status '{task['status']}'")
    cancelled = endings.cancel(call.store, task, _reason(call.content))
    return {"success": True, "task": cancelled}


def _reason(content: bytes) -> str | None:
    # The public route declares no body and reads one only if it happens to be JSON.
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    reason = body.get("reason") if isinstance(body, dict) else None
    return reason if isinstance(reason, str) else None


def _pause(call: Call) -> Document:
    task = _own_in(call, "in_progress")
    return {"success": True, "task": tasks.touch(call.store, task, status="paused", wasPaused=True)}


def _resume(call: Call) -> Document:
    task = _own_in(call, "paused")
    return {"success": True, "task": tasks.touch(call.store, task, status="in_progress")}


def _own_in(call: Call, status: str) -> Document:
    task = tasks.known(call.store, call.path["id"])
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
