"""Serve single tasks in full and lists of task summaries (docs/api.md 5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, steering, tasks, telemetry
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route
from agent_swarm_worker.local_swarm.tables import AGENTS, ATTACHMENTS, TASKS
from agent_swarm_worker.local_swarm.validation import Choice, Number, Shape, Text, names, optional

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

PREVIEW_CHARS = 200
DEFAULT_LOGS = 200
DEFAULT_LIMIT = 25

SUMMARY_FIELDS = names(
    "id key agentId creatorAgentId title status source taskType tags priority dependsOn offeredTo"
    " acceptedAt parentTaskId scheduleId model modelTier effort provider requestedByUserId progress"
    " createdAt lastUpdatedAt finishedAt peakContextPercent totalCostUsd"
)
BACKGROUND_TYPES = ("heartbeat", "heartbeat-checklist", "boot-triage")

DETAILS = Shape(logsLimit=Number(1, 1000, integer=True, from_text=True).optional(DEFAULT_LOGS))
LIST = Shape(
    **optional(Text(), "status agentId"),
    key=Text(1, 255).optional(),
    search=Text().optional(),
    includeHeartbeat=Choice("true", "false").optional(),
    **optional(Text(form="date-time"), "createdAfter createdBefore"),
    source=Text().optional(),
    requestedByUserId=Text(1).optional(),
    orderBy=Choice("lastUpdatedAt", "createdAt").optional("lastUpdatedAt"),
    limit=Number(integer=True, from_text=True).optional(DEFAULT_LIMIT),
    offset=Number(integer=True, from_text=True).optional(0),
    fields=Choice("full", "slim").optional("slim"),
)


def details(store: Store, task: Document, logs_limit: int = DEFAULT_LOGS) -> Document:
    """Return a task with its history and attachments."""
    agent = store.get(AGENTS, task["agentId"]) if task["agentId"] else None
    provider = agents.harness_of(agent) or task.get("provider")
    return {
        **task,
        "isLeadTask": bool(agent and agent["isLead"]),
        "supportedSteerModes": list(steering.STEER_MODES[provider]) if provider else [],
        "logs": telemetry.task_history(store, task["id"], logs_limit),
        "attachments": store.find(ATTACHMENTS, "taskId = ? ORDER BY rowid", task["id"]),
    }


def with_cost(store: Store, task: Document) -> Document:
    """Return a task with the cost of its sessions so far, if any is known."""
    cost = store.value("SELECT SUM(totalCostUsd) FROM session_costs WHERE taskId = ?", task["id"])
    return task if cost is None else {**task, "totalCostUsd": cost}


def summary(task: Document) -> Document:
    """Return the fields of a task that lists show."""
    shown = {name: value for name, value in task.items() if name in SUMMARY_FIELDS}
    return {**shown, "task": task["task"][:PREVIEW_CHARS]}


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
        shown = [summary(task) for task in shown]
    # `where` holds column names of this module only; the caller's values are bound.
    total = call.store.value(f"SELECT COUNT(*) FROM tasks WHERE {where}", *values)  # noqa: S608
    return {"tasks": shown, "total": total}


def _conditions(query: Document) -> tuple[str, list[object]]:
    parts: list[str] = []
    values: list[object] = []

    def add(part: str, *bound: object) -> None:
        parts.append(part)
        values.extend(bound)

    for name, allowed in (("status", tasks.STATUSES), ("source", tasks.SOURCES)):
        wanted = [token.strip() for token in query.get(name, "").split(",") if token.strip()]
        if unknown := next((token for token in wanted if token not in allowed), None):
            raise Refusal(400, f"Invalid {name} token: {unknown}")
        if wanted:
            add(f"{name} IN ({', '.join('?' * len(wanted))})", *wanted)
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
    task = tasks.require(call.store, call.path["id"])
    return details(call.store, task, call.query["logsLimit"])


def _paused(call: Call) -> Document:
    where = "agentId = ? AND status = 'paused' ORDER BY createdAt, rowid"
    return {"tasks": call.store.find(TASKS, where, call.agent_id)}


ROUTES = (
    Route("GET", "/api/tasks", _list, query=LIST),
    Route("GET", "/api/tasks/{id}", _details, query=DETAILS),
    Route("GET", "/api/paused-tasks", _paused, agent="header"),
)
