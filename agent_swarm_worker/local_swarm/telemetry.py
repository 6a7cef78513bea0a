"""Store what sessions report: events, context usage, log lines.

Events are docs/api.md 9, context usage 11 (percentages from 0 to 100), log lines 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import history, tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Reply, Route
from agent_swarm_worker.local_swarm.scrub import Scrubber
from agent_swarm_worker.local_swarm.tables import EVENTS, SESSION_LOGS, SNAPSHOTS, TASKS
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

# --- events
MAX_BATCH = 500
DEFAULT_LIMIT = 100

CATEGORY = Choice("tool", "skill", "session", "api", "task", "workflow", "system")
NAME = Choice(
    *names(
        "tool.start tool.end skill.invoke skill.complete session.start session.end session.resume"
        " session.cost api.request api.error task.poll task.assign task.timeout workflow.step.start"
        " workflow.step.end workflow.run.start workflow.run.end system.boot system.migration"
        " system.error system.profile_sync_rejected system.profile_sync_reconciled"
        " script.global_upsert schedule.deleted"
    )
)
STATUS = Choice("ok", "error", "timeout", "skipped")
SOURCE = Choice("worker", "api", "hook", "scheduler", "cli")

EVENT = Shape(
    category=CATEGORY,
    event=NAME,
    status=STATUS.optional(),
    source=SOURCE,
    **optional(Text(), "agentId taskId sessionId parentEventId"),
    numericValue=Number().optional(),
    durationMs=Number(integer=True).optional(),
    data=Record().optional(),
)
BATCH = Shape(events=Items(EVENT, 1, MAX_BATCH))
FILTER = Shape(
    category=CATEGORY.optional(),
    event=NAME.optional(),
    status=STATUS.optional(),
    source=SOURCE.optional(),
    **optional(Text(), "agentId taskId sessionId dataField since until"),
    limit=Number(1, 1000, integer=True, from_text=True).optional(DEFAULT_LIMIT),
)
_EQUAL = ("category", "event", "status", "source", "agentId", "taskId", "sessionId")


def _one(call: Call) -> Reply:
    return Reply(201, {"success": True, "event": history.record_event(call.store, call.body)})


def _batch(call: Call) -> Reply:
    for event in call.body["events"]:
        history.record_event(call.store, event)
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


# --- context usage
TOKENS = Number(0, integer=True)

SNAPSHOT = Shape(
    eventType=Choice("progress", "compaction", "completion"),
    sessionId=Text(),
    **optional(TOKENS, "contextUsedTokens contextTotalTokens"),
    contextPercent=Number(0, 100).optional(),
    compactTrigger=Choice("auto", "manual", "auto-inferred").optional(),
    preCompactTokens=TOKENS.optional(),
    cumulativeInputTokens=TOKENS.optional(0),
    cumulativeOutputTokens=TOKENS.optional(0),
    contextFormula=Choice(
        "input-cache-output",
        "input-cache-no-output",
        "input-output-no-cache",
        "peak-proxy",
        "pi-delegated",
        "harness-reported",
        "unknown",
    ).optional(),
)
LIMIT = Shape(limit=Number(1, 500, integer=True, from_text=True).optional(DEFAULT_LIMIT))


def _update_peaks(store: Store, task: Document, snapshot: Document) -> None:
    changes: Document = {}
    for peak, name in (
        ("peakContextPercent", "contextPercent"),
        ("peakContextTokens", "contextUsedTokens"),
    ):
        if name in snapshot:
            changes[peak] = max(snapshot[name], task.get(peak, 0))
    if "contextTotalTokens" in snapshot and "contextWindowSize" not in task:
        changes["contextWindowSize"] = snapshot["contextTotalTokens"]
    if snapshot["eventType"] == "compaction":
        changes["compactionCount"] = task["compactionCount"] + 1
    # Not `tasks.update`: a snapshot is no sign of life of the task.
    store.update(TASKS, task["id"], **changes)


def _post(call: Call) -> Document:
    store, task = call.store, tasks.require(call.store, call.path["id"])
    row = {
        **call.body,
        "taskId": task["id"],
        "agentId": call.agent_id,
        "createdAt": store.now(),
    }
    snapshot = store.insert(SNAPSHOTS, row)
    _update_peaks(store, task, snapshot)
    return {"ok": True, "snapshotId": snapshot["id"]}


def _get(call: Call) -> Document:
    store, task = call.store, tasks.require(call.store, call.path["id"])
    where = "taskId = ? ORDER BY createdAt DESC, rowid DESC LIMIT ?"
    count = "SELECT COUNT(*) FROM context_snapshots WHERE taskId = ?"
    summary = {
        "compactionCount": task["compactionCount"],
        "peakContextPercent": task.get("peakContextPercent"),
        "peakContextTokens": task.get("peakContextTokens"),
        "contextWindowSize": task.get("contextWindowSize"),
        "snapshotCount": store.value(count, task["id"]),
    }
    newest = store.find(SNAPSHOTS, where, task["id"], call.query["limit"])
    return {"snapshots": newest[::-1], "summary": summary}


# --- log lines
NO_LIMIT = -1

LINES = Shape(
    sessionId=Text(1),
    iteration=Number(1, integer=True),
    lines=Items(Text(), 1),
    **optional(Text(), "taskId cli"),
)
LOG_LIMIT = Shape(limit=Number(1, 1000, integer=True, from_text=True).optional(NO_LIMIT))


def _store(call: Call) -> Reply:
    store, body = call.store, call.body
    scrub, now = Scrubber(store), store.now()
    session = (body.get("taskId") or None, body["sessionId"], body["iteration"])
    for number, line in enumerate(body["lines"]):
        # Numbers start at 0 in each request, as on the public server.
        store.run(
            "INSERT INTO session_logs (id, taskId, sessionId, iteration, cli, content, lineNumber,"
            " createdAt) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(store.new_id(), *session, body.get("cli") or "claude", scrub(line), number, now),
        )
    return Reply(201, {"success": True, "count": len(body["lines"])})


def _of_task(call: Call) -> Document:
    task = tasks.require(call.store, call.path["id"])
    where = "taskId = ? ORDER BY iteration DESC, lineNumber DESC, rowid DESC LIMIT ?"
    newest = call.store.find(SESSION_LOGS, where, task["id"], call.query["limit"])
    return {"logs": newest[::-1]}


ROUTES = (
    Route("POST", "/api/events", _one, body=EVENT),
    Route("POST", "/api/events/batch", _batch, body=BATCH),
    Route("GET", "/api/events", _find, query=FILTER),
    Route("POST", "/api/tasks/{id}/context", _post, agent="header", body=SNAPSHOT),
    Route("GET", "/api/tasks/{id}/context", _get, query=LIMIT),
    Route("POST", "/api/session-logs", _store, body=LINES),
    Route("GET", "/api/tasks/{id}/session-logs", _of_task, query=LOG_LIMIT),
)
