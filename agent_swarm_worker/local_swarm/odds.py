"""Small routes that belong to no larger subject, and features this server answers without having.

Saying "disabled" or "nothing" in the public shapes lets a worker go on as it would elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route
from agent_swarm_worker.local_swarm.fields import Text
from agent_swarm_worker.local_swarm.tables import AGENTS, TASKS
from agent_swarm_worker.local_swarm.validation import Record, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

RECENT_TASKS = 20

RENDER = Shape(
    eventType=Text(),
    variables=Record().optional(),
    agentId=Text().optional(),
    repoId=Text().optional(),
)


def _health(_: Call) -> Document:
    return {"status": "ok", "version": tasks.API_VERSION}


def _render(_: Call) -> Document:
    # No template rows here: the public answer for an unknown event makes workers use their own.
    return {"text": "", "skipped": False, "unresolved": []}


def _agent_credentials(call: Call) -> Document:
    if not call.agent_id:
        raise Refusal(400, "X-Agent-ID is required")
    return {"enabled": False, "created": False, "agentId": call.agent_id}


def _ecosystem(_: Call) -> Document:
    return {"apps": []}


def _whoami(_: Call) -> Document:
    return {"kind": "operator", "user": None}


def _concurrent_context(call: Call) -> Document:
    store = call.store
    active = store.find(TASKS, "status = 'in_progress' ORDER BY createdAt, rowid")
    recent = "creatorAgentId IS NOT NULL ORDER BY createdAt DESC, rowid DESC LIMIT ?"
    shown = ("id", "task", "agentId", "creatorAgentId", "status", "createdAt", "progress")

    def brief(task: Document) -> Document:
        agent = store.get(AGENTS, task["agentId"]) if task["agentId"] else None
        picked = {name: task.get(name) for name in shown}
        return {**picked, "agentName": agent["name"] if agent else None}

    return {
        "processingInboxMessages": [],
        "recentTaskDelegations": [brief(task) for task in store.find(TASKS, recent, RECENT_TASKS)],
        "activeSwarmTasks": [brief(task) for task in active],
    }


ROUTES = (
    Route("GET", "/health", _health),
    Route("POST", "/api/prompt-templates/render", _render, body=RENDER),
    Route("POST", "/api/fs/agent-credentials", _agent_credentials),
    Route("GET", "/ecosystem", _ecosystem, agent="header"),
    Route("GET", "/api/whoami", _whoami),
    Route("GET", "/api/concurrent-context", _concurrent_context),
)
