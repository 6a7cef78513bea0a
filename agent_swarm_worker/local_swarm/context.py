"""How full a session's context window was (docs/api.md 11). Percentages run from 0 to 100."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Route
from agent_swarm_worker.local_swarm.fields import Choice, Number, Text
from agent_swarm_worker.local_swarm.tables import SNAPSHOTS, TASKS
from agent_swarm_worker.local_swarm.validation import Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

DEFAULT_LIMIT = 100
TOKENS = Number(0, whole=True)

SNAPSHOT = Shape(
    eventType=Choice("progress", "compaction", "completion"),
    sessionId=Text(),
    contextUsedTokens=TOKENS.optional(),
    contextTotalTokens=TOKENS.optional(),
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
LIMIT = Shape(limit=Number(1, 500, whole=True, from_text=True).optional(DEFAULT_LIMIT))


def _note_peaks(store: Store, task: Document, snapshot: Document) -> None:
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
    # Not `touch`: a snapshot does not count as a sign of life of the task.
    store.update(TASKS, task["id"], **changes)


def _post(call: Call) -> Document:
    store, task = call.store, tasks.known(call.store, call.path["id"])
    row = {
        **call.body,
        "taskId": task["id"],
        "agentId": call.agent_id,
        "createdAt": store.now(),
    }
    snapshot = store.insert(SNAPSHOTS, row)
    _note_peaks(store, task, snapshot)
    return {"ok": True, "snapshotId": snapshot["id"]}


def _get(call: Call) -> Document:
    store, task = call.store, tasks.known(call.store, call.path["id"])
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


ROUTES = (
    Route("POST", "/api/tasks/{id}/context", _post, agent="header", body=SNAPSHOT),
    Route("GET", "/api/tasks/{id}/context", _get, query=LIMIT),
)
