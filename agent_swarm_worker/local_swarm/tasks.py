"""Create and update tasks; a child task inherits fields from its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, history
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route, found
from agent_swarm_worker.local_swarm.tables import TASKS, USERS
from agent_swarm_worker.local_swarm.validation import (
    Choice,
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
    history.add_history(
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
        history.add_history(
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


ROUTES = (Route("POST", "/api/tasks", _create, body=CREATE),)
