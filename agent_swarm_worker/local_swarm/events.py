"""What happened, as a stream of small typed events (docs/api.md 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm.endpoint import Call, Reply, Route
from agent_swarm_worker.local_swarm.fields import Choice, Number, Text
from agent_swarm_worker.local_swarm.tables import EVENTS
from agent_swarm_worker.local_swarm.validation import Items, Record, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

MAX_BATCH = 500
DEFAULT_LIMIT = 100

CATEGORY = Choice("tool", "skill", "session", "api", "task", "workflow", "system")
NAME = Choice(
    "tool.start",
    "tool.end",
    "skill.invoke",
    "skill.complete",
    "session.start",
    "session.end",
    "session.resume",
    "session.cost",
    "api.request",
    "api.error",
    "task.poll",
    "task.assign",
    "task.timeout",
    "workflow.step.start",
    "workflow.step.end",
    "workflow.run.start",
    "workflow.run.end",
    "system.boot",
    "system.migration",
    "system.error",
    "system.profile_sync_rejected",
    "system.profile_sync_reconciled",
    "script.global_upsert",
    "schedule.deleted",
)
STATUS = Choice("ok", "error", "timeout", "skipped")
SOURCE = Choice("worker", "api", "hook", "scheduler", "cli")

EVENT = Shape(
    category=CATEGORY,
    event=NAME,
    status=STATUS.optional(),
    source=SOURCE,
    agentId=Text().optional(),
    taskId=Text().optional(),
    sessionId=Text().optional(),
    parentEventId=Text().optional(),
    numericValue=Number().optional(),
    durationMs=Number(whole=True).optional(),
    data=Record().optional(),
)
BATCH = Shape(events=Items(EVENT, 1, MAX_BATCH))
FILTER = Shape(
    category=CATEGORY.optional(),
    event=NAME.optional(),
    status=STATUS.optional(),
    source=SOURCE.optional(),
    agentId=Text().optional(),
    taskId=Text().optional(),
    sessionId=Text().optional(),
    dataField=Text().optional(),
    since=Text().optional(),
    until=Text().optional(),
    limit=Number(1, 1000, whole=True, from_text=True).optional(DEFAULT_LIMIT),
)
_EQUAL = ("category", "event", "status", "source", "agentId", "taskId", "sessionId")


def record(store: Store, event: Document) -> Document:
    """Store one event; its time is the server's own."""
    return store.insert(EVENTS, {"status": "ok", **event, "createdAt": store.now()})


def _one(call: Call) -> Reply:
    return Reply(201, {"success": True, "event": record(call.store, call.body)})


def _batch(call: Call) -> Reply:
    for event in call.body["events"]:
        record(call.store, event)
    return Reply(201, {"success": True, "count": len(call.body["events"])})


def _find(call: Call) -> Document:
    query, parts, values = call.query, ["1"], []
    for name in _EQUAL:
        if name in query:
            parts.append(f"{name} = ?")
            values.append(query[name])
    for name, sign in (("since", ">="), ("until", "<=")):
        if name in query:
            parts.append(f"createdAt {sign} ?")
            values.append(query[name])
    if "dataField" in query:
        parts.append("json_extract(data, '$.field') = ?")
        values.append(query["dataField"])
    where = f"{' AND '.join(parts)} ORDER BY createdAt DESC, rowid DESC LIMIT ?"
    return {"events": call.store.find(EVENTS, where, *values, query["limit"])}


ROUTES = (
    Route("POST", "/api/events", _one, body=EVENT),
    Route("POST", "/api/events/batch", _batch, body=BATCH),
    Route("GET", "/api/events", _find, query=FILTER),
)
