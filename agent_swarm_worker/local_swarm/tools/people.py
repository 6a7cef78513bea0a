"""Tools that reach beyond the swarm: people, and workflows this server does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import approvals
from agent_swarm_worker.local_swarm.fields import Anything, Number, Text
from agent_swarm_worker.local_swarm.tools.tool import Caller, Said, Tool
from agent_swarm_worker.local_swarm.validation import Items, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

ASK = Shape(
    title=Text(1),
    questions=Items(approvals.QUESTION, 1),
    timeoutSeconds=Number(1, whole=True).optional(),
)


def _ask(caller: Caller, given: Document) -> Said:
    request = approvals.ask(caller.store, {**given, "sourceTaskId": caller.source_task_id})
    path = f"/api/approval-requests/{request['id']}"
    message = "Asked. The answer will come to you as a task of its own; do not wait for it."
    return Said(message, {"requestId": request["id"], "url": path})


def _no_workflows(_: Caller, __: Document) -> Said:
    return Said("The local swarm has no workflows.", success=False)


TOOLS = (
    Tool("request-human-input", "Ask a person and get the answer later.", _ask, ASK),
    Tool(
        "trigger-workflow",
        "Start a workflow (the local swarm has none).",
        _no_workflows,
        Shape(id=Text().optional(), triggerData=Anything().optional()),
    ),
)
