"""Reading tasks: one in full, many in short (docs/api.md 5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, steering, tasks, telemetry
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route
from agent_swarm_worker.local_swarm.tables import AGENTS, ATTACHMENTS, TASKS
from agent_swarm_worker.local_swarm.validation import Choice, Number, Shape, Text

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

PREVIEW_CHARS = 200
DEFAULT_LOGS = 200
DEFAULT_LIMIT = 25

IN_SHORT = frozenset(
    [
        "id",
        "key",
        "agentId",
        "creatorAgentId",
        "title",
        "status",
        "source",
        "taskType",
        "tags",
        "priority",
        "dependsOn",
        "offeredTo",
        "acceptedAt",
        "parentTaskId",
        "scheduleId",
        "model",
        "modelTier",
        "effort",
        "provider",
        "requestedByUserId",
        "progress",
        "createdAt",
        "lastUpdatedAt",
        "finishedAt",
        "peakContextPercent",
        "totalCostUsd",
    ]
)
BACKGROUND_TYPES = ("heartbeat", "heartbeat-checklist", "boot-triage")

DETAILS = Shape(logsLimit=Number(1, 1000, whole=True, from_text=True).optional(DEFAULT_LOGS))
LIST = Shape(
    status=Text().optional(),
    agentId=Text().optional(),
    key=Text(1, 255).optional(),
    search=Text().optional(),
    includeHeartbeat=Choice("true", "false").optional(),
    createdAfter=Text(form="date-time").optional(),
    createdBefore=Text(form="date-time").optional(),
    source=Text().optional(),
    requestedByUserId=Text(1).optional(),
    orderBy=Choice("lastUpdatedAt", "createdAt").optional("lastUpdatedAt"),
    limit=Number(whole=True, from_text=True).optional(DEFAULT_LIMIT),
    offset=Number(whole=True, from_text=True).optional(0),
    fields=Choice("full", "slim").optional("slim"),
)


def details(store: Store, task: Document, logs_limit: int = DEFAULT_LOGS) -> Document:
    """Return everything about a task, its history and attachments included."""
    agent = store.get(AGENTS, task["agentId"]) if task["agentId"] else None
    provider = agents.harness_of(agent) or task.get("provider")
    return {
        **task,
        "isLeadTask": bool(agent and agent["isLead"]),
        "supportedSteerModes": list(steering.MODES_OF_PROVIDER[provider]) if provider else [],
        "logs": telemetry.of_task(store, task["id"], logs_limit),
        "attachments": store.find(ATTACHMENTS, "taskId = ? ORDER BY rowid", task["id"]),
    }


def with_cost(store: Store, task: Document) -> Document:
    """Add what the task's sessions have cost so far, if anything is known."""
    cost = store.value("SELECT SUM(totalCostUsd) FROM session_costs WHERE taskId = ?", task["id"])
    return task if cost is None else {**task, "totalCostUsd": cost}


def in_short(task: Document) -> Document:
    """Return what a list shows of a task."""
    short = {name: value for name, value in task.items() if name in IN_SHORT}
    return {**short, "task": task["task"][:PREVIEW_CHARS]}


def _list(call: Call) -> Document:
    query = call.query
    where, values = _conditions(query)
    order = "createdAt DESC, rowid DESC"
    if query["orderBy"] == "lastUpdatedAt":
        order = "lastUpdatedAt DESC, priority DESC, rowid DESC"
    page = f"{where} ORDER BY {order} LIMIT ? OFFSET ?"
    found = call.store.find(TASKS, page, *values, query["limit"], query["offset"])
    shown = [with_cost(call.store, task) for task in found]
    if query["fields"] == "slim":
        shown = [in_short(task) for task in shown]
    # Only our own column names are in `where`; what the caller sent is bound.
    total = call.store.value(f"SELECT COUNT(*) FROM tasks WHERE {where}", *values)  # noqa: S608
    return {"tasks": shown, "total": total}


def _conditions(query: Document) -> tuple[str, list[object]]:
    parts: list[str] = []
    values: list[object] = []

    def add(part: str, *bound: object) -> None:
        parts.append(part)
        values.extend(bound)

    for name, allowed in (("status", tasks.STATUSES), ("source", tasks.SOURCES)):
        words = [word.strip() for word in query.get(name, "").split(",") if word.strip()]
        if unknown := next((word for word in words if word not in allowed), None):
            raise Refusal(400, f"Invalid {name} token: {unknown}")
        if words:
            add(f"{name} IN ({', '.join('?' * len(words))})", *words)
    for name in ("agentId", "key", "requestedByUserId"):
        if query.get(name):
            add(f"{name} = ?", query[name])
    if query.get("search"):
        add("(INSTR(LOWER(task), LOWER(?)) OR INSTR(id, ?))", query["search"], query["search"])
    if "createdAfter" in query:
        add("createdAt >= ?", query["createdAfter"])
    if "createdBefore" in query:
        add("createdAt < ?", query["createdBefore"])
    if query.get("includeHeartbeat") != "true":
        add("IFNULL(taskType, '') NOT IN (?, ?, ?)", *BACKGROUND_TYPES)
    return " AND ".join(parts) or "1", values


def _details(call: Call) -> Document:
    task = tasks.known(call.store, call.path["id"])
    return details(call.store, task, call.query["logsLimit"])


def _paused(call: Call) -> Document:
    where = "agentId = ? AND status = 'paused' ORDER BY createdAt, rowid"
    return {"tasks": call.store.find(TASKS, where, call.agent_id)}


ROUTES = (
    Route("GET", "/api/tasks", _list, query=LIST),
    Route("GET", "/api/tasks/{id}", _details, query=DETAILS),
    Route("GET", "/api/paused-tasks", _paused, agent="header"),
)
