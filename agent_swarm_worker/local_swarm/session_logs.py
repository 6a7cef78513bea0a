"""The lines a session wrote (docs/api.md 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Reply, Route
from agent_swarm_worker.local_swarm.fields import Number, Text
from agent_swarm_worker.local_swarm.scrub import Scrubber
from agent_swarm_worker.local_swarm.tables import SESSION_LOGS
from agent_swarm_worker.local_swarm.validation import Items, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

NO_LIMIT = -1

LINES = Shape(
    sessionId=Text(1),
    iteration=Number(1, whole=True),
    lines=Items(Text(), 1),
    taskId=Text().optional(),
    cli=Text().optional(),
)
LIMIT = Shape(limit=Number(1, 1000, whole=True, from_text=True).optional(NO_LIMIT))


def _store(call: Call) -> Reply:
    store, body = call.store, call.body
    scrub, now = Scrubber(store), store.now()
    same = (body.get("taskId") or None, body["sessionId"], body["iteration"])
    for number, line in enumerate(body["lines"]):
        # Numbers begin at 0 in each request: two batches of one iteration interleave when read.
        store.run(
            "INSERT INTO session_logs (id, taskId, sessionId, iteration, cli, content, lineNumber,"
            " createdAt) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(store.new_id(), *same, body.get("cli") or "claude", scrub(line), number, now),
        )
    return Reply(201, {"success": True, "count": len(body["lines"])})


def _of_task(call: Call) -> Document:
    task = tasks.known(call.store, call.path["id"])
    where = "taskId = ? ORDER BY iteration DESC, lineNumber DESC, rowid DESC LIMIT ?"
    newest = call.store.find(SESSION_LOGS, where, task["id"], call.query["limit"])
    return {"logs": newest[::-1]}


ROUTES = (
    Route("POST", "/api/session-logs", _store, body=LINES),
    Route("GET", "/api/tasks/{id}/session-logs", _of_task, query=LIMIT),
)
