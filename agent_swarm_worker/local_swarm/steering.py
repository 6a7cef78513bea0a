"""Store steering messages for tasks; promote undelivered ones to follow-ups (docs/api.md 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route, found
from agent_swarm_worker.local_swarm.scrub import scrub
from agent_swarm_worker.local_swarm.tables import AGENTS, STEERING, USERS
from agent_swarm_worker.local_swarm.validation import Choice, Shape, Text

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

STEER_MODES = {
    "pi": ("steer", "queue"),
    "claude-managed": ("steer", "queue"),
    "devin": ("queue",),
    "opencode": ("queue",),
    "claude": ("queue",),
    "codex": ("queue",),
}
NOT_STARTED = frozenset({"unassigned", "offered", "pending"})
MAX_NOTE_CHARS = 500

STEER = Shape(
    message=Text(1),
    mode=Choice("steer", "queue").optional("queue"),
    onUnsupported=Choice("degrade", "fail").optional("degrade"),
    source=Choice("ui", "mcp", "script", "slack", "api").optional("api"),
    requestedByUserId=Text().optional(),
)
OF_TASK = Shape(taskId=Text().optional())
DELIVERED = Shape(mode=Choice("steer", "queue"))
UNDELIVERABLE = Shape(reason=Text(1))
HANDLED = Shape(note=Text().optional())


def request(store: Store, task_id: str, body: Document) -> Document:
    """Store a message for a task and return its outcome: steered, queued or promoted.

    A message for a task that has ended becomes a follow-up task at once.
    """
    task = tasks.require(store, task_id)
    agent = store.get(AGENTS, task["agentId"]) if task["agentId"] else None
    provider = agents.harness_of(agent) or task.get("provider") or "claude"
    modes, wanted = STEER_MODES[provider], body["mode"]
    if not body["message"].strip():
        raise Refusal(400, "Steering message must not be empty")
    if body["onUnsupported"] == "fail" and wanted not in modes:
        raise Refusal(422, f"Harness provider '{provider}' does not support mode '{wanted}'")
    if task["status"] == "paused":
        task = tasks.update(store, task, status="in_progress")
    author = store.get(USERS, body.get("requestedByUserId", ""))
    message = store.insert(
        STEERING,
        {
            "taskId": task_id,
            "body": scrub(store, body["message"]),
            "mode": wanted,
            "status": "pending",
            "source": body["source"],
            # The caller has the API key, so it is the operator, whatever agent its headers name.
            "createdByKind": "user" if author else "system",
            "createdByUserId": author["id"] if author else None,
            "createdAt": store.now(),
        },
    )
    degraded = wanted == "steer" and ("steer" not in modes or task["status"] in NOT_STARTED)
    mode = "queue" if degraded else wanted
    result: Document = {"steeringMessageId": message["id"], "effectiveMode": mode}
    if degraded:
        result["degradedFrom"] = wanted
    if task["status"] == "in_progress" or task["status"] in NOT_STARTED:
        return {"outcome": "steered" if mode == "steer" else "queued", **result}
    promoted = promote(store, message)
    return {"outcome": "promoted", "promotedTaskId": promoted["promotedTaskId"], **result}


def promote(store: Store, message: Document) -> Document:
    """Turn an undelivered message into a follow-up task for the same agent."""
    task = tasks.require(store, message["taskId"])
    follow_up = tasks.create(
        store,
        message["body"],
        agentId=task["agentId"],
        source="api" if message["source"] == "script" else message["source"],
        taskType="follow-up",
        parentTaskId=task["id"],
        requestedByUserId=message.get("createdByUserId"),
    )
    changes = {"status": "promoted", "promotedTaskId": follow_up["id"]}
    return store.update(STEERING, message["id"], **changes)


def promote_pending(store: Store, task_id: str) -> None:
    """Promote the messages that were not delivered before the task ended."""
    for message in store.find(STEERING, "taskId = ? AND status = 'pending'", task_id):
        promote(store, message)


def own_message(store: Store, message_id: str, agent_id: str) -> Document:
    """Return a message whose task belongs to the agent, or refuse."""
    message = found(store.get(STEERING, message_id), "Steering message")
    task = tasks.get(store, message["taskId"])
    if task is None or task["agentId"] != agent_id:
        raise Refusal(403, "Steering message task is assigned to another agent")
    return message


def deliver(store: Store, message: Document, mode: str) -> Document:
    """Mark a pending message as delivered in `mode`."""
    if message["status"] != "pending":
        return message
    changes = {"status": "delivered", "deliveredMode": mode, "deliveredAt": store.now()}
    return store.update(STEERING, message["id"], **changes)


def handle(store: Store, message: Document, note: str = "") -> Document:
    """Mark a delivered message as handled by the agent."""
    if message["status"] != "delivered":
        return message
    stored = scrub(store, note[:MAX_NOTE_CHARS]) if note.strip() else None
    changes = {"status": "handled", "handledAt": store.now(), "handledNote": stored}
    return store.update(STEERING, message["id"], **changes)


# --- routes
def _steer(call: Call) -> Document:
    return request(call.store, call.path["id"], call.body)


def _of_task(call: Call) -> Document:
    task = tasks.require(call.store, call.path["id"])
    return {"messages": call.store.find(STEERING, "taskId = ? ORDER BY rowid", task["id"])}


def _pending(call: Call) -> Document:
    where = (
        "status = 'pending' AND taskId IN (SELECT id FROM tasks WHERE agentId = ?)"
        " AND IFNULL(?, taskId) = taskId ORDER BY rowid"
    )
    task_id = call.query.get("taskId") or None
    return {"messages": call.store.find(STEERING, where, call.agent_id, task_id)}


def _own(call: Call) -> Document:
    return own_message(call.store, call.path["id"], call.agent_id)


def _delivered(call: Call) -> Document:
    return {"message": deliver(call.store, _own(call), call.body["mode"])}


def _undeliverable(call: Call) -> Document:
    message = _own(call)
    if message["status"] == "pending":
        message = promote(call.store, message)
    promoted = message.get("promotedTaskId")
    return {"message": message} | ({"promotedTaskId": promoted} if promoted else {})


def _handled(call: Call) -> Document:
    return {"message": handle(call.store, _own(call), call.body.get("note", ""))}


MESSAGE = "/api/steering-messages/{id}"
ROUTES = (
    Route("POST", "/api/tasks/{id}/steer", _steer, body=STEER),
    Route("GET", "/api/tasks/{id}/steering-messages", _of_task),
    Route("GET", "/api/steering-messages", _pending, agent="known", query=OF_TASK),
    Route("POST", f"{MESSAGE}/delivered", _delivered, agent="known", body=DELIVERED),
    Route("POST", f"{MESSAGE}/undeliverable", _undeliverable, agent="known", body=UNDELIVERABLE),
    Route("POST", f"{MESSAGE}/handled", _handled, agent="known", body=HANDLED),
)
