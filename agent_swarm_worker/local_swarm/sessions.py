"""Store active sessions and their heartbeats; recover tasks without a session (docs/api.md 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route
from agent_swarm_worker.local_swarm.tables import SESSIONS, TASKS
from agent_swarm_worker.local_swarm.validation import Number, Shape, Text, optional

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

DEFAULT_MAX_AGE_MIN = 30
DEFAULT_MIN_AGE_S = 60

CREATE = Shape(
    agentId=Text(1),
    taskId=Text().optional(),
    triggerType=Text(1),
    **optional(Text(), "inboxMessageId taskDescription runnerSessionId runtimeInstanceId"),
)
PROVIDER_SESSION = Shape(providerSessionId=Text(1))
CLEANUP = Shape(agentId=Text().optional(), maxAgeMinutes=Number(integer=True).optional())
RECOVER = Shape(agentId=Text(1), minAgeSeconds=Number(above=0, integer=True).optional())
OF_AGENT = Shape(agentId=Text().optional())


def of_task(store: Store, task_id: str) -> Document | None:
    """Return the session row of a task."""
    return store.first(SESSIONS, "taskId = ?", task_id)


def end(store: Store, task_id: str) -> bool:
    """Remove the session row of a task; return whether there was one."""
    return bool(store.delete(SESSIONS, "taskId = ?", task_id))


def delete_stale(store: Store, older_than: str) -> int:
    """Remove rows whose last heartbeat is before `older_than`."""
    return store.delete(SESSIONS, "lastHeartbeatAt < ?", older_than)


def recover_orphans(store: Store, agent_id: str, min_age_s: float) -> list[Document]:
    """Reset to pending the tasks that the agent claimed and never began.

    Such a task has no harness session and no session row, and was not updated for `min_age_s`.
    """
    where = (
        "agentId = ? AND status = 'in_progress' AND claudeSessionId IS NULL"
        " AND finishedAt IS NULL AND lastUpdatedAt < ?"
        " AND id NOT IN (SELECT taskId FROM active_sessions WHERE taskId IS NOT NULL)"
    )
    orphans = store.find(TASKS, where, agent_id, store.ago(min_age_s))
    return [tasks.update(store, orphan, status="pending") for orphan in orphans]


# --- routes
def _create(call: Call) -> Reply:
    now = call.store.now()
    row = {**call.body, "startedAt": now, "lastHeartbeatAt": now}
    return Reply(201, {"session": call.store.insert(SESSIONS, row)})


def _list(call: Call) -> Document:
    where = "agentId = IFNULL(?, agentId) ORDER BY startedAt, rowid"
    return {"sessions": call.store.find(SESSIONS, where, call.query.get("agentId") or None)}


def _end(call: Call) -> Document:
    return {"deleted": end(call.store, call.path["taskId"])}


def _delete(call: Call) -> Document:
    return {"deleted": bool(call.store.delete(SESSIONS, "id = ?", call.path["id"]))}


def _heartbeat(call: Call) -> Document:
    sql = "UPDATE active_sessions SET lastHeartbeatAt = ? WHERE taskId = ?"
    return {"updated": bool(call.store.run(sql, call.store.now(), call.path["taskId"]))}


def _provider_session(call: Call) -> Document:
    sql = "UPDATE active_sessions SET providerSessionId = ? WHERE taskId = ?"
    given = call.body["providerSessionId"]
    return {"updated": bool(call.store.run(sql, given, call.path["taskId"]))}


def _cleanup(call: Call) -> Document:
    if agent_id := call.body.get("agentId"):
        return {"cleaned": call.store.delete(SESSIONS, "agentId = ?", agent_id)}
    age_min = call.body.get("maxAgeMinutes", DEFAULT_MAX_AGE_MIN)
    return {"cleaned": delete_stale(call.store, call.store.ago(age_min * 60))}


def _recover(call: Call) -> Document:
    agent_id = call.body["agentId"]
    if agent_id != call.agent_id:
        raise Refusal(403, "Can only recover orphaned tasks for the calling agent")
    age_s = call.body.get("minAgeSeconds", DEFAULT_MIN_AGE_S)
    recovered = recover_orphans(call.store, agent_id, age_s)
    return {"recovered": len(recovered), "tasks": recovered}


BASE = "/api/active-sessions"
ROUTES = (
    Route("POST", BASE, _create, body=CREATE),
    Route("GET", BASE, _list, query=OF_AGENT),
    Route("POST", f"{BASE}/cleanup", _cleanup, body=CLEANUP),
    Route("POST", f"{BASE}/recover-orphaned-tasks", _recover, body=RECOVER),
    Route("DELETE", f"{BASE}/by-task/{{taskId}}", _end),
    Route("DELETE", f"{BASE}/{{id}}", _delete),
    Route("PUT", f"{BASE}/heartbeat/{{taskId}}", _heartbeat),
    Route("PUT", f"{BASE}/provider-session/{{taskId}}", _provider_session, body=PROVIDER_SESSION),
)
