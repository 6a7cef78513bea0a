"""Tools that give work to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import tasks
from agent_swarm_worker.local_swarm.endpoint import Refusal
from agent_swarm_worker.local_swarm.fields import Choice, Flag, Number, Text
from agent_swarm_worker.local_swarm.tables import AGENTS, TASKS
from agent_swarm_worker.local_swarm.tools.tool import Caller, Said, Tool
from agent_swarm_worker.local_swarm.validation import Items, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document
    from agent_swarm_worker.local_swarm.validation import Check

UUID = Text(form="uuid")
FOLLOW_UP = Shape(
    disabled=Flag().optional(),
    onCompleted=Text(most=4000).optional(),
    onFailed=Text(most=4000).optional(),
)
NEW_TASK: dict[str, Check] = {
    "taskType": Text(most=tasks.MAX_TASK_TYPE_CHARS).optional(),
    "tags": Items(Text()).optional(),
    "priority": Number(0, 100, whole=True).optional(),
    "dependsOn": Items(UUID).optional(),
    "dir": Text(1).optional().described("Absolute path to work in."),
    "model": Text(1).optional(),
    "modelTier": Choice(*tasks.TIERS).optional(),
    "effort": Choice(*tasks.EFFORTS).optional(),
}
"""What may be said of any new task besides its text."""
SEND: dict[str, Check] = {
    "task": Text(1).described("What is to be done, with all that is needed to do it."),
    "parentTaskId": UUID.optional().described("By default the task you work on."),
    "vcsRepo": Text().optional(),
    "requestedByUserId": Text().optional(),
    "allowDuplicate": Flag().optional(False),
    "followUpConfig": FOLLOW_UP.optional(),
    **NEW_TASK,
}
RECEIVER = Text().described("The agent that is to do it.")


def _send(caller: Caller, given: Document) -> Said:
    fields = dict(given)
    receiver_id, offered = fields.pop("agentId", None), fields.pop("offerMode", False)
    explicit_parent = tasks.get(caller.store, fields.get("parentTaskId"))
    if receiver_id == caller.agent_id:
        raise Refusal(400, "Do it yourself: a task cannot be sent to its sender")
    if receiver_id is None and explicit_parent is not None:
        receiver_id = explicit_parent["agentId"]
    if receiver_id is not None and caller.store.get(AGENTS, receiver_id) is None:
        raise Refusal(404, f'Agent "{receiver_id}" not found')
    if offered and receiver_id is None:
        raise Refusal(400, "An offer needs an agentId")
    text = fields.pop("task")
    if not fields.pop("allowDuplicate"):
        _refuse_duplicate(caller, text)
    fields.setdefault("parentTaskId", caller.source_task_id)
    fields["offeredTo" if offered else "agentId"] = receiver_id
    task = tasks.create(caller.store, text, creatorAgentId=caller.agent_id, **fields)
    return Said(f'Task "{task["id"]}" created ({task["status"]}).', {"task": task})


def _offer(caller: Caller, given: Document) -> Said:
    return _send(caller, {**given, "offerMode": True})


def _refuse_duplicate(caller: Caller, text: str) -> None:
    same = caller.store.find(TASKS, "creatorAgentId = ? AND task = ?", caller.agent_id, text)
    is_open = (task["id"] for task in same if task["status"] not in tasks.TERMINAL)
    if task_id := next(is_open, None):
        raise Refusal(409, f"Task {task_id} says the same. Set allowDuplicate to send it again.")


TOOLS = (
    Tool(
        "send-task",
        "Give a task to another agent, or to the pool if you name none.",
        _send,
        Shape(agentId=RECEIVER.optional(), offerMode=Flag().optional(False), **SEND),
    ),
    Tool(
        "offer-task",
        "Offer a task to an agent that may decline it.",
        _offer,
        Shape(agentId=RECEIVER, **SEND),
    ),
)
