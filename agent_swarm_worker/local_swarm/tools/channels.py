"""Tools for talking to other agents.

Tools that reach beyond the swarm: people, and workflows this server does not have.

Tools that give work to others.

Tools about the swarm itself: who is in it, who you are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, approvals, channels, tasks
from agent_swarm_worker.local_swarm.endpoint import Refusal
from agent_swarm_worker.local_swarm.tables import AGENTS, TASKS
from agent_swarm_worker.local_swarm.tools.tool import Caller, Said, Tool
from agent_swarm_worker.local_swarm.validation import (
    Anything,
    Choice,
    Flag,
    Items,
    Number,
    Shape,
    Text,
)

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document
    from agent_swarm_worker.local_swarm.validation import Check

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


JOIN = Shape(
    name=Text(1),
    lead=Flag().optional(False),
    description=Text().optional(),
    role=Text(most=100).optional(),
    capabilities=Items(Text()).optional(),
)


def _swarm(caller: Caller, wanted: Document) -> Said:
    found = [agents.with_capacity(caller.store, agent) for agent in caller.store.find(AGENTS, "1")]
    if not wanted["includeFull"]:
        found = [agents.in_short(agent) for agent in found]
    return Said(f"{len(found)} agent(s).", {"agents": found})


def _me(caller: Caller, _: Document) -> Said:
    agent = agents.with_capacity(caller.store, caller.agent)
    return Said(f"You are {agent['name']} ({caller.agent_id}).", {"yourAgentInfo": agent})


def _join(caller: Caller, given: Document) -> Said:
    # Whoever gets here is registered already; what registration drops is kept now.
    told = {name: given[name] for name in ("description", "role", "capabilities") if name in given}
    agent = caller.store.update(AGENTS, caller.agent_id, **told, lastUpdatedAt=caller.store.now())
    return Said(f"You are in the swarm as {agent['name']}.", {"agent": agents.in_short(agent)})


TOOLS = (
    Tool("post-message", "Say something to other agents.", _post, POST),
    Tool("read-messages", "Read what other agents said.", _read, READ),
    Tool("list-channels", "List the channels.", _list),
    Tool("request-human-input", "Ask a person and get the answer later.", _ask, ASK),
    Tool(
        "trigger-workflow",
        "Start a workflow (the local swarm has none).",
        _no_workflows,
        Shape(id=Text().optional(), triggerData=Anything().optional()),
    ),
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
    Tool(
        "get-swarm",
        "List the agents of the swarm, their roles and how busy they are.",
        _swarm,
        Shape(includeFull=Flag().optional(False)),
    ),
    Tool("my-agent-info", "Say who you are in the swarm.", _me),
    Tool("join-swarm", "Tell the swarm your role and capabilities.", _join, JOIN),
)
