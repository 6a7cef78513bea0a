"""``GET /me``: what an agent is told about itself, and what waits for it (docs/api.md 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, channels
from agent_swarm_worker.local_swarm.endpoint import Call, Route
from agent_swarm_worker.local_swarm.fields import Text
from agent_swarm_worker.local_swarm.validation import Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

RECENT_MENTIONS = 3
EXCERPT_CHARS = 100

INCLUDE = Shape(include=Text().optional(""))


def inbox(store: Store, agent_id: str) -> Document:
    """Count what waits for an agent. Channels it is being woken up for do not count."""
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
    agent = agents.known(call.store, call.agent_id)
    shown = {**agents.with_capacity(call.store, agent), "shouldBlockPolling": False}
    if call.query["include"] == "inbox":
        shown["inbox"] = inbox(call.store, agent["id"])
    return shown


ROUTES = (Route("GET", "/me", _me, agent="header", query=INCLUDE),)
