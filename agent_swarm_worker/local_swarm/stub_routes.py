"""Serve small routes: stubs of features this server lacks, ``/me``, and refresh locks.

A stub answers "disabled" or an empty result in the public server's shape, so that a worker
continues as it would there. ``GET /me`` describes the calling agent and counts its inbox
(docs/api.md 3.5). A refresh lock lets one worker at a time refresh a shared login
(docs/api.md 13.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, channels, tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route
from agent_swarm_worker.local_swarm.tables import AGENTS, TASKS
from agent_swarm_worker.local_swarm.validation import Number, Record, Shape, Text, optional

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

# --- stubs
RECENT_TASKS = 20

RENDER = Shape(
    eventType=Text(),
    variables=Record().optional(),
    **optional(Text(), "agentId repoId"),
)


def _health(_: Call) -> Document:
    return {"status": "ok", "version": tasks.API_VERSION}


def _render(_: Call) -> Document:
    # The public server's response for an unknown event; workers then use their own template.
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

    def summary(task: Document) -> Document:
        agent = store.get(AGENTS, task["agentId"]) if task["agentId"] else None
        picked = {name: task.get(name) for name in shown}
        return {**picked, "agentName": agent["name"] if agent else None}

    return {
        "processingInboxMessages": [],
        "recentTaskDelegations": [summary(row) for row in store.find(TASKS, recent, RECENT_TASKS)],
        "activeSwarmTasks": [summary(task) for task in active],
    }


# --- the calling agent
RECENT_MENTIONS = 3
EXCERPT_CHARS = 100

INCLUDE = Shape(include=Text().optional(""))


def inbox(store: Store, agent_id: str) -> Document:
    """Count the open items of an agent; channels whose mentions are claimed do not count."""
    unread = channels.unread(store, agent_id)
    mentions = [message for message in unread if agent_id in message["mentions"]]
    counts = {
        "offeredTasksCount": ("offeredTo = ? AND status = 'offered'", (agent_id,)),
        "poolTasksCount": ("status = 'unassigned'", ()),
        "inProgressCount": ("agentId = ? AND status = 'in_progress'", (agent_id,)),
    }
    return {
        "unreadCount": len(unread),
        "mentionsCount": len(mentions),
        **{
            # The conditions are the constants above.
            name: store.value(f"SELECT COUNT(*) FROM tasks WHERE {where}", *values)  # noqa: S608
            for name, (where, values) in counts.items()
        },
        "recentMentions": [
            {
                "channelName": message["channelName"],
                "agentName": message["agentName"],
                "content": message["content"][:EXCERPT_CHARS],
                "createdAt": message["createdAt"],
            }
            for message in mentions[-RECENT_MENTIONS:]
        ],
    }


def _me(call: Call) -> Document:
    agent = agents.require(call.store, call.agent_id)
    shown = {**agents.with_capacity(call.store, agent), "shouldBlockPolling": False}
    if call.query["include"] == "inbox":
        shown["inbox"] = inbox(call.store, agent["id"])
    return shown


# --- refresh locks
MAX_TTL_MS = 300_000

NAME = Shape(key=Text(pattern="[a-zA-Z0-9._:-]{1,200}"))
ACQUIRE = Shape(ttlMs=Number(maximum=MAX_TTL_MS, above=0, integer=True))
RELEASE = Shape(owner=Text(1))


def _key(call: Call) -> str:
    return str(NAME.parse({"key": call.path["key"]})["key"])


def _acquire(call: Call) -> Document:
    store, key = call.store, _key(call)
    store.run("DELETE FROM refresh_locks WHERE key = ? AND expiresAt <= ?", key, store.now())
    owner, until = store.new_id(), store.ahead(call.body["ttlMs"] / 1000)
    sql = "INSERT OR IGNORE INTO refresh_locks (key, owner, expiresAt) VALUES (?, ?, ?)"
    if not store.run(sql, key, owner, until):
        raise Refusal(409, "Lock is held by another caller")
    return {"owner": owner}


def _release(call: Call) -> None:
    # An expired lock may belong to another caller by now.
    sql = "DELETE FROM refresh_locks WHERE key = ? AND owner = ?"
    call.store.run(sql, _key(call), call.body["owner"])


ROUTES = (
    Route("GET", "/health", _health),
    Route("POST", "/api/prompt-templates/render", _render, body=RENDER),
    Route("POST", "/api/fs/agent-credentials", _agent_credentials),
    Route("GET", "/ecosystem", _ecosystem, agent="header"),
    Route("GET", "/api/whoami", _whoami),
    Route("GET", "/api/concurrent-context", _concurrent_context),
    Route("GET", "/me", _me, agent="header", query=INCLUDE),
    Route("POST", "/api/oauth/refresh-locks/{key}", _acquire, body=ACQUIRE),
    Route("DELETE", "/api/oauth/refresh-locks/{key}", _release, body=RELEASE),
)
