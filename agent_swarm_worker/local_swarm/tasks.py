"""Create and update tasks, and serve reports on running ones (docs/api.md 5.5 to 5.11).

A child task inherits fields from its parent. How a task ends is in `finish`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.local_swarm import agents, finish, telemetry
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route, found
from agent_swarm_worker.local_swarm.scrub import scrub
from agent_swarm_worker.local_swarm.tables import TASKS, USERS
from agent_swarm_worker.local_swarm.validation import (
    Choice,
    Either,
    Items,
    Number,
    Record,
    Shape,
    Text,
    names,
    optional,
)

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

API_VERSION = "1.135.0"
"""Version of the public API that this server implements."""

STATUSES = names(
    "backlog unassigned offered reviewing pending in_progress paused completed failed cancelled"
    " superseded"
)
TERMINAL = frozenset({"completed", "failed", "cancelled", "superseded"})
SOURCES = names("mcp slack api ui github gitlab agentmail system schedule workflow linear jira")
EFFORTS = ("off", "low", "medium", "high", "xhigh", "max")
TIERS = ("smol", "regular", "smart", "ultra")
TIER_ALIASES = {"haiku": "smol", "sonnet": "regular", "opus": "smart", "fable": "ultra"}
"""Model names that mean a tier, so that any harness can run the task (docs/api.md 15.8)."""
MAX_TASK_TYPE_CHARS = 50
DEFAULT_PRIORITY = 50

INHERITED = names(
    "dir vcsProvider vcsRepo vcsNumber vcsUrl outputSchema contextKey requestedByUserId"
    " followUpConfig key routingAffinity"
)
"""Fields that a child takes from its parent unless given. The model is not among them: the child
may run on another harness (docs/api.md 7.5)."""

CREATE = Shape(
    task=Text(1),
    **optional(Text(), "agentId taskType"),
    tags=Items(Text()).optional(),
    priority=Number(0, 100, integer=True).optional(),
    dependsOn=Items(Text()).optional(),
    **optional(Text(), "offeredTo dir parentTaskId"),
    key=Text(1, 255).optional(),
    source=Choice(*SOURCES).optional(),
    outputSchema=Record().optional(),
    **optional(Text(), "contextKey requestedByUserId model"),
    modelTier=Choice(*TIERS).optional(),
    effort=Choice(*EFFORTS).optional(),
)


# --- reading
def get(store: Store, task_id: str | None) -> Document | None:
    """Return the task with this id, if it exists."""
    return store.get(TASKS, task_id) if task_id else None


def require(store: Store, task_id: str) -> Document:
    """Return a task, or refuse with 404."""
    return found(store.get(TASKS, task_id), "Task")


def is_ready(store: Store, task: Document) -> bool:
    """Return whether all tasks that this one depends on are completed."""
    return all(
        (dependency := get(store, task_id)) is not None and dependency["status"] == "completed"
        for task_id in task["dependsOn"]
    )


# --- writing
def create(store: Store, text: str, **fields: object) -> Document:
    """Create a task; keyword names are those of the wire, empty values count as absent.

    The status is ``offered`` with ``offeredTo``, ``pending`` with ``agentId``, else ``unassigned``.
    """
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    parent = get(store, str(given.get("parentTaskId") or ""))
    if parent is not None:
        inherited = {name: parent[name] for name in INHERITED if name in parent}
        given = inherited | given
    if not text.strip() or len(str(given.get("taskType", ""))) > MAX_TASK_TYPE_CHARS:
        raise Refusal(500, "Failed to create task")
    task_id, now = store.new_id(), store.now()
    task = store.insert(
        TASKS,
        {
            "id": task_id,
            "key": f"shared/task:{task_id}/",
            "task": text,
            "source": "mcp",
            "tags": [],
            "dependsOn": [],
            "priority": DEFAULT_PRIORITY,
            "swarmVersion": API_VERSION,
            "createdAt": now,
            "lastUpdatedAt": now,
            **_model_or_tier(given),
            "status": _first_status(given),
            "offeredAt": now if "offeredTo" in given else None,
        },
    )
    telemetry.add_history(
        store,
        "task_offered" if task["status"] == "offered" else "task_created",
        agent_id=str(given.get("creatorAgentId") or "") or None,
        task_id=task_id,
        new=task["status"],
    )
    return task


def create_follow_up(
    store: Store, agent_id: str, text: str, *, parent_id: str, kind: str = "follow-up"
) -> Document:
    """Create a task of the system for an agent, about the task `parent_id`."""
    about = {"agentId": agent_id, "parentTaskId": parent_id, "taskType": kind}
    return create(store, text, source="system", **about)


def update(store: Store, task: Document, **changes: object) -> Document:
    """Change a task and its ``lastUpdatedAt``; record a change of status in the history."""
    changed = store.update(TASKS, task["id"], **changes, lastUpdatedAt=store.now())
    if changed["status"] != task["status"]:
        telemetry.add_history(
            store,
            "task_status_change",
            agent_id=changed["agentId"],
            task_id=task["id"],
            old=task["status"],
            new=changed["status"],
        )
    return changed


def _first_status(fields: Document) -> str:
    if "offeredTo" in fields:
        return "offered"
    return "pending" if "agentId" in fields else "unassigned"


def _model_or_tier(fields: Document) -> Document:
    alias = TIER_ALIASES.get(str(fields.get("model", "")).strip().lower())
    if alias is None:
        return fields
    rest = {name: value for name, value in fields.items() if name != "model"}
    return {"modelTier": alias, **rest}


# --- routes: creation
def _create(call: Call) -> Reply:
    fields = dict(call.body)
    text = fields.pop("task")
    lead = agents.lead(call.store)
    # A task without an agent goes to the lead, as on the public server.
    if not fields.get("agentId") and lead is not None:
        fields["agentId"] = lead["id"]
    user_id = fields.pop("requestedByUserId", "")
    if user_id and call.store.get(USERS, user_id) is not None:
        fields["requestedByUserId"] = user_id
    fields.setdefault("source", "api")
    return Reply(201, create(call.store, text, creatorAgentId=call.agent_id, **fields))


# --- routes: reports and changes
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
    telemetry.add_history(store, "task_progress", **about, new=scrubbed)
    return changed


def _progress(call: Call) -> Document:
    progress(call.store, require(call.store, call.path["id"]), call.body["progress"])
    return {"success": True}


def _session(call: Call) -> Document:
    task = require(call.store, call.path["id"])
    return update(call.store, task, **call.body)


def _vcs(call: Call) -> Document:
    return update(call.store, require(call.store, call.path["id"]), **call.body)


def _cancel(call: Call) -> Document:
    task = require(call.store, call.path["id"])
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
    return {"success": True, "task": update(call.store, task, status="paused", wasPaused=True)}


def _resume(call: Call) -> Document:
    task = _own_in(call, "paused")
    return {"success": True, "task": update(call.store, task, status="in_progress")}


def _own_in(call: Call, status: str) -> Document:
    task = require(call.store, call.path["id"])
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
    task = get(store, task_id)
    if task is None or task["status"] != "cancelled":
        return {"cancelled": []}
    shown = ("id", "task", "failureReason")
    return {"cancelled": [{name: task[name] for name in shown if name in task}]}


ROUTES = (
    Route("POST", "/api/tasks", _create, body=CREATE),
    Route("POST", "/api/tasks/{id}/progress", _progress, body=PROGRESS),
    Route("PUT", "/api/tasks/{id}/session", _session, body=SESSION),
    Route("PATCH", "/api/tasks/{id}/vcs", _vcs, body=VCS),
    Route("POST", "/api/tasks/{id}/cancel", _cancel),
    Route("POST", "/api/tasks/{id}/pause", _pause),
    Route("POST", "/api/tasks/{id}/resume", _resume),
    Route("GET", "/cancelled-tasks", _cancelled, agent="known", query=OF_TASK),
)
