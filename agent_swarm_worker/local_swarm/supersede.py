"""End a running task in favour of a resume task (docs/api.md 7.4 and 7.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, finish, tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route
from agent_swarm_worker.local_swarm.tables import AGENTS
from agent_swarm_worker.local_swarm.validation import Choice, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

RECENT_ACTIVITY_S = 30
"""The resume task is pinned to an agent that was active this recently, for any reason."""
PRIORITY_STEP = 10
MAX_PRIORITY = 100
TASK_CHARS = 200
GENERATION_TAG = "resume-generation:"
PIN_TAGS = {"graceful_shutdown": "graceful-shutdown-pin", "crash_recovery": "crash-recovery-pin"}
"""Reasons after which the agent is expected back; a sweep escalates pins that stay unclaimed."""

SUPERSEDE = Shape(
    reason=Choice("graceful_shutdown", "context_limits", "manual_supersede", "crash_recovery")
)


def supersede(store: Store, task: Document, reason: str) -> tuple[Document, Document]:
    """End a task and create its resume task; return both."""
    ended = finish.supersede(store, task)
    return ended, _resume_task(store, ended, reason)


def generation(task: Document) -> int:
    """Return how many times the task has been resumed."""
    tag = next((tag for tag in task["tags"] if tag.startswith(GENERATION_TAG)), "")
    number = tag.removeprefix(GENERATION_TAG)
    return int(number) if number.isdecimal() else 0


def affinity_of(agent: Document) -> Document:
    """Return the routing affinity of an agent's task: the agents that may continue it."""
    affinity = {
        "sourceAgentId": agent["id"],
        "role": agent.get("role"),
        "harnessProvider": agents.harness_of(agent),
        "capabilities": agent["capabilities"],
    }
    return {name: value for name, value in affinity.items() if value is not None}


def can_return_to(store: Store, agent: Document | None) -> bool:
    """Return whether a task may be pinned to the agent: not offline, with a free slot."""
    return agent is not None and agent["status"] != "offline" and agents.has_capacity(store, agent)


def _resume_task(store: Store, task: Document, reason: str) -> Document:
    agent = store.get(AGENTS, task["agentId"]) if task["agentId"] else None
    pinned = _is_pinned(store, agent, reason)
    tags = ["auto-resume", f"reason:{reason}", f"{GENERATION_TAG}{generation(task) + 1}"]
    if pinned and reason in PIN_TAGS:
        tags.append(PIN_TAGS[reason])
    text = (
        f"Carry on an interrupted task ({reason}).\n\n"
        f"It began: {task['task'][:TASK_CHARS]}\n\n"
        "What was done so far is put before this prompt. Build on it; do not start over."
    )
    return tasks.create(
        store,
        text,
        agentId=agent["id"] if agent and pinned else None,
        creatorAgentId=task.get("creatorAgentId"),
        source="system",
        taskType="resume",
        tags=tags,
        priority=min(MAX_PRIORITY, task["priority"] + PRIORITY_STEP),
        parentTaskId=task["id"],
        routingAffinity=affinity_of(agent) if agent else None,
    )


def _is_pinned(store: Store, agent: Document | None, reason: str) -> bool:
    if agent is None or not can_return_to(store, agent):
        return False
    # Times on the wire sort as text.
    is_fresh: bool = agent.get("lastActivityAt", "") > store.ago(RECENT_ACTIVITY_S)
    return reason in PIN_TAGS or is_fresh


def _supersede(call: Call) -> Document:
    task = tasks.require(call.store, call.path["id"])
    if call.agent_id and task["agentId"] != call.agent_id:
        raise Refusal(403, "Task belongs to another agent")
    answer: Document = {"success": True}
    if task["status"] in tasks.TERMINAL:
        return answer | {"kind": "alreadyFinished", "task": task, "resumeTaskId": None}
    if task["status"] != "in_progress":
        raise Refusal(400, f"Task status is '{task['status']}', not 'in_progress'")
    ended, resume = supersede(call.store, task, call.body["reason"])
    return answer | {
        "kind": "resumed",
        "task": ended,
        "resumeTaskId": resume["id"],
        "resumeTaskStatus": resume["status"],
    }


ROUTES = (Route("POST", "/api/tasks/{id}/supersede", _supersede, body=SUPERSEDE),)
