"""Tasks: what one is, how it comes into being, what a child inherits from its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, task_log
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route
from agent_swarm_worker.local_swarm.fields import Choice, Number, Text
from agent_swarm_worker.local_swarm.tables import TASKS, USERS
from agent_swarm_worker.local_swarm.validation import Items, Record, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

API_VERSION = "1.135.0"
"""The generation of the public API that this server speaks."""

STATUSES = (
    "backlog",
    "unassigned",
    "offered",
    "reviewing",
    "pending",
    "in_progress",
    "paused",
    "completed",
    "failed",
    "cancelled",
    "superseded",
)
TERMINAL = frozenset({"completed", "failed", "cancelled", "superseded"})
SOURCES = (
    "mcp",
    "slack",
    "api",
    "ui",
    "github",
    "gitlab",
    "agentmail",
    "system",
    "schedule",
    "workflow",
    "linear",
    "jira",
)
EFFORTS = ("off", "low", "medium", "high", "xhigh", "max")
TIERS = ("smol", "regular", "smart", "ultra")
TIER_ALIASES = {"haiku": "smol", "sonnet": "regular", "opus": "smart", "fable": "ultra"}
"""Given as a model these mean a tier, so that any harness can run the task (docs/api.md 15.8)."""
MAX_TASK_TYPE_CHARS = 50
DEFAULT_PRIORITY = 50

INHERITED = (
    "dir",
    "vcsProvider",
    "vcsRepo",
    "vcsNumber",
    "vcsUrl",
    "outputSchema",
    "contextKey",
    "requestedByUserId",
    "followUpConfig",
    "key",
    "routingAffinity",
)
"""What a child takes from its parent unless told otherwise. Never the model: the child may run on
another harness (docs/api.md 7.5)."""

CREATE = Shape(
    task=Text(1),
    agentId=Text().optional(),
    taskType=Text().optional(),
    tags=Items(Text()).optional(),
    priority=Number(0, 100, whole=True).optional(),
    dependsOn=Items(Text()).optional(),
    offeredTo=Text().optional(),
    dir=Text().optional(),
    parentTaskId=Text().optional(),
    key=Text(1, 255).optional(),
    source=Choice(*SOURCES).optional(),
    outputSchema=Record().optional(),
    contextKey=Text().optional(),
    requestedByUserId=Text().optional(),
    model=Text().optional(),
    modelTier=Choice(*TIERS).optional(),
    effort=Choice(*EFFORTS).optional(),
)


# --- reading
def get(store: Store, task_id: str | None) -> Document | None:
    """Return a task, if there is one with this id."""
    return store.get(TASKS, task_id) if task_id else None


def known(store: Store, task_id: str) -> Document:
    """Return a task, or refuse with 404."""
    task = store.get(TASKS, task_id)
    if task is None:
        raise Refusal(404, "Task not found")
    return task


def is_ready(store: Store, task: Document) -> bool:
    """True if everything the task depends on is completed."""
    return all(
        (dependency := get(store, task_id)) is not None and dependency["status"] == "completed"
        for task_id in task["dependsOn"]
    )


# --- writing
def create(store: Store, text: str, **fields: object) -> Document:
    """Create a task; keyword names are the wire's. Empty values count as absent.

    The status follows from the fields: offered to somebody, waiting for its agent, or in the pool.
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
    task_log.note(
        store,
        "task_offered" if task["status"] == "offered" else "task_created",
        agent_id=str(given.get("creatorAgentId") or "") or None,
        task_id=task_id,
        new=task["status"],
    )
    return task


def touch(store: Store, task: Document, **changes: object) -> Document:
    """Change a task and stamp ``lastUpdatedAt``; a change of status goes into the history."""
    changed = store.update(TASKS, task["id"], **changes, lastUpdatedAt=store.now())
    if changed["status"] != task["status"]:
        task_log.note(
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


# --- routes
def _create(call: Call) -> Reply:
    fields = dict(call.body)
    text = fields.pop("task")
    lead = agents.lead(call.store)
    # A task nobody is named for goes to the lead, as on the public server.
    if not fields.get("agentId") and lead is not None:
        fields["agentId"] = lead["id"]
    user_id = fields.pop("requestedByUserId", "")
    if user_id and call.store.get(USERS, user_id) is not None:
        fields["requestedByUserId"] = user_id
    fields.setdefault("source", "api")
    return Reply(201, create(call.store, text, creatorAgentId=call.agent_id, **fields))


ROUTES = (Route("POST", "/api/tasks", _create, body=CREATE),)
