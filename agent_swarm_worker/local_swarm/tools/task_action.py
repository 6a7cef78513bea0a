"""The tool that moves a task: into the pool and out of it, to an agent and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, budgets, poll, task_log, tasks
from agent_swarm_worker.local_swarm.endpoint import Refusal
from agent_swarm_worker.local_swarm.fields import Choice, Text
from agent_swarm_worker.local_swarm.tools.sending import NEW_TASK, UUID
from agent_swarm_worker.local_swarm.tools.tool import Caller, Said, Tool
from agent_swarm_worker.local_swarm.validation import Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

ACTION = Shape(
    action=Choice("create", "claim", "release", "accept", "reject", "to_backlog", "from_backlog"),
    taskId=UUID.optional(),
    task=Text(1).optional().described("What is to be done, for create."),
    reason=Text().optional().described("Why, for reject."),
    **NEW_TASK,
)


def _act(caller: Caller, given: Document) -> Said:
    action = given["action"]
    if action == "create":
        kept = {name: given[name] for name in NEW_TASK if name in given}
        if "task" not in given:
            raise Refusal(400, "create needs the task's text")
        task = tasks.create(caller.store, given["task"], creatorAgentId=caller.agent_id, **kept)
    else:
        if "taskId" not in given:
            raise Refusal(400, f"{action} needs a taskId")
        task = tasks.known(caller.store, given["taskId"])
        task = _ACTIONS[action](caller, task, given)
    return Said(f'{action}: task "{task["id"]}" is {task["status"]}.', {"task": task})


def _claim(caller: Caller, task: Document, _: Document) -> Document:
    _require_status(task, "unassigned")
    _require_admission(caller, task)
    if not poll.is_eligible(caller.agent, task):
        raise Refusal(403, "This task needs another role or other capabilities")
    claimed = tasks.touch(caller.store, task, status="in_progress", agentId=caller.agent_id)
    task_log.note(caller.store, "task_claimed", agent_id=caller.agent_id, task_id=task["id"])
    agents.settle(caller.store, caller.agent_id)
    return claimed


def _release(caller: Caller, task: Document, _: Document) -> Document:
    if task["agentId"] != caller.agent_id:
        raise Refusal(403, "This task is not yours")
    _require_status(task, "pending", "in_progress")
    released = tasks.touch(caller.store, task, status="unassigned", agentId=None)
    agents.settle(caller.store, caller.agent_id)
    return released


def _accept(caller: Caller, task: Document, _: Document) -> Document:
    _require_offer(caller, task)
    if refusal := budgets.refusal(caller.store, caller.agent_id, task):
        raise Refusal(403, f"The daily budget ({refusal['cause']}) is used up")
    return tasks.touch(
        caller.store,
        task,
        status="pending",
        agentId=caller.agent_id,
        acceptedAt=caller.store.now(),
    )


def _reject(caller: Caller, task: Document, given: Document) -> Document:
    _require_offer(caller, task)
    changes = {"status": "unassigned", "offeredTo": None, "offeredAt": None}
    reason = given.get("reason")
    return tasks.touch(caller.store, task, **changes, rejectionReason=reason)


def _to_backlog(caller: Caller, task: Document, _: Document) -> Document:
    _require_status(task, "unassigned")
    return tasks.touch(caller.store, task, status="backlog")


def _from_backlog(caller: Caller, task: Document, _: Document) -> Document:
    _require_status(task, "backlog")
    return tasks.touch(caller.store, task, status="unassigned")


_ACTIONS = {
    "claim": _claim,
    "release": _release,
    "accept": _accept,
    "reject": _reject,
    "to_backlog": _to_backlog,
    "from_backlog": _from_backlog,
}


def _require_status(task: Document, *statuses: str) -> None:
    if task["status"] not in statuses:
        raise Refusal(409, f"The task is {task['status']}, not {' or '.join(statuses)}")


def _require_offer(caller: Caller, task: Document) -> None:
    # The public server insists on "offered", which a polled offer no longer is (docs/api.md 4.4);
    # so there an offer can be neither accepted nor rejected. Here it can.
    _require_status(task, "offered", "reviewing")
    if task.get("offeredTo") != caller.agent_id:
        raise Refusal(403, "This task was not offered to you")


def _require_admission(caller: Caller, task: Document) -> None:
    if not agents.has_capacity(caller.store, caller.agent):
        raise Refusal(409, "You have no capacity left; complete a task first")
    if not tasks.is_ready(caller.store, task):
        raise Refusal(409, "The task depends on others that are not completed")
    if refusal := budgets.refusal(caller.store, caller.agent_id, task):
        raise Refusal(403, f"The daily budget ({refusal['cause']}) is used up")


TOOLS = (
    Tool(
        "task-action",
        "Create a task for the pool, claim or release one, accept or reject an offer.",
        _act,
        ACTION,
    ),
)
