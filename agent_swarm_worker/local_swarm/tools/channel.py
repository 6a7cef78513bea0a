"""Tools for talking to other agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import channels
from agent_swarm_worker.local_swarm.fields import Flag, Number, Text
from agent_swarm_worker.local_swarm.tools.tool import Caller, Said, Tool
from agent_swarm_worker.local_swarm.validation import Items, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

CHANNEL = Text().optional(channels.DEFAULT_CHANNEL)
POST = Shape(
    channel=CHANNEL,
    content=Text(1, 4000),
    replyTo=Text(form="uuid").optional(),
    mentions=Items(Text()).optional([]).described("Ids of agents to wake up."),
)
READ = Shape(
    channel=Text().optional().described("By default whatever is unread anywhere."),
    limit=Number(1, 100, whole=True).optional(20),
    since=Text(form="date-time").optional(""),
    unreadOnly=Flag().optional(False),
    mentionsOnly=Flag().optional(False),
    markAsRead=Flag().optional(True),
)


def _post(caller: Caller, given: Document) -> Said:
    message = channels.post(
        caller.store,
        caller.agent_id,
        given["channel"],
        given["content"],
        reply_to=given.get("replyTo"),
        mentions=given["mentions"],
    )
    return Said(f"Posted to {given['channel']}.", {"posted": message})


def _read(caller: Caller, wanted: Document) -> Said:
    found = channels.read(
        caller.store,
        caller.agent_id,
        wanted.get("channel"),
        limit=wanted["limit"],
        since=wanted["since"],
        unread_only=wanted["unreadOnly"],
        mentions_only=wanted["mentionsOnly"],
        mark_as_read=wanted["markAsRead"],
    )
    return Said(f"{len(found)} message(s).", {"messages": found})


def _list(caller: Caller, _: Document) -> Said:
    found = channels.channels(caller.store)
    return Said(f"{len(found)} channel(s).", {"channels": found})


TOOLS = (
    Tool("post-message", "Say something to other agents.", _post, POST),
    Tool("read-messages", "Read what other agents said.", _read, READ),
    Tool("list-channels", "List the channels.", _list),
)
