"""Tools that reach other agents and people: messages, requests, delegated tasks, the swarm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, approvals, channels, tasks
from agent_swarm_worker.local_swarm.endpoint import Refusal
from agent_swarm_worker.local_swarm.tables import AGENTS, TASKS
from agent_swarm_worker.local_swarm.tools.tool import Caller, Tool, ToolResult
from agent_swarm_worker.local_swarm.validation import (
    Anything,
    Choice,
    Flag,
    Items,
    Number,
    Shape,
    Text,
    optional,
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
    limit=Number(1, 100, integer=True).optional(20),
    since=Text(form="date-time").optional(""),
    unreadOnly=Flag().optional(False),
    mentionsOnly=Flag().optional(False),
    markAsRead=Flag().optional(True),
)


def _post(caller: Caller, given: Document) -> ToolResult:
    message = channels.post(
        caller.store,
        caller.agent_id,
        given["channel"],
        given["content"],
        reply_to=given.get("replyTo"),
        mentions=given["mentions"],
    )
    return ToolResult(f"Posted to {given['channel']}.", {"posted": message})


def _read(caller: Caller, wanted: Document) -> ToolResult:
    messages = channels.read(
        caller.store,
        caller.agent_id,
        wanted.get("channel"),
        limit=wanted["limit"],
        since=wanted["since"],
        unread_only=wanted["unreadOnly"],
        mentions_only=wanted["mentionsOnly"],
        mark_as_read=wanted["markAsRead"],
    )
    return ToolResult(f"{len(messages)} message(s).", {"messages": messages})


def _list(caller: Caller, _: Document) -> ToolResult:
    found = channels.channels(caller.store)
    return ToolResult(f"{len(found)} channel(s).", {"channels": found})


ASK = Shape(
    title=Text(1),
    questions=Items(approvals.QUESTION, 1),
    timeoutSeconds=Number(1, integer=True).optional(),
)


def _ask(caller: Caller, given: Document) -> ToolResult:
    request = approvals.create(caller.store, {**given, "sourceTaskId": caller.source_task_id})
    path = f"/api/approval-requests/{request['id']}"
    message = "Asked. The answer will come to you as a task of its own; do not wait for it."
    return ToolResult(message, {"requestId": request["id"], "url": path})


def _no_workflows(_: Caller, __: Document) -> ToolResult:
    return ToolResult("The local swarm has no workflows.", success=False)


UUID = Text(form="uuid")
FOLLOW_UP = Shape(
    disabled=Flag().optional(),
    **optional(Text(max_length=4000), "onCompleted onFailed"),
)
NEW_TASK: dict[str, Check] = {
    "taskType": Text(max_length=tasks.MAX_TASK_TYPE_CHARS).optional(),
    "tags": Items(Text()).optional(),
    "priority": Number(0, 100, integer=True).optional(),
    "dependsOn": Items(UUID).optional(),
    "dir": Text(1).optional().described("Absolute path to work in."),
    "model": Text(1).optional(),
    "modelTier": Choice(*tasks.TIERS).optional(),
    "effort": Choice(*tasks.EFFORTS).optional(),
}
"""Arguments of every tool that creates a task, besides its text."""
SEND: dict[str, Check] = {
    "task": Text(1).described("What is to be done, with all that is needed to do it."),
    "parentTaskId": UUID.optional().described("By default the task you work on."),
    **optional(Text(), "vcsRepo requestedByUserId"),
    "allowDuplicate": Flag().optional(False),
    "followUpConfig": FOLLOW_UP.optional(),
    **NEW_TASK,
}
RECEIVER = Text().described("The agent that is to do it.")


def _send(caller: Caller, given: Document) -> ToolResult:
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
    return ToolResult(f'Task "{task["id"]}" created ({task["status"]}).', {"task": task})


def _offer(caller: Caller, given: Document) -> ToolResult:
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
    role=Text(max_length=100).optional(),
    capabilities=Items(Text()).optional(),
)


def _swarm(caller: Caller, wanted: Document) -> ToolResult:
    found = [agents.with_capacity(caller.store, agent) for agent in caller.store.find(AGENTS, "1")]
    if not wanted["includeFull"]:
        found = [agents.summary(agent) for agent in found]
    return ToolResult(f"{len(found)} agent(s).", {"agents": found})


def _me(caller: Caller, _: Document) -> ToolResult:
    agent = agents.with_capacity(caller.store, caller.agent)
    return ToolResult(f"You are {agent['name']} ({caller.agent_id}).", {"yourAgentInfo": agent})


def _join(caller: Caller, given: Document) -> ToolResult:
    # The caller is registered already; registration ignores these fields.
    profile = {
        name: given[name] for name in ("description", "role", "capabilities") if name in given
    }
    agent = caller.store.update(
        AGENTS, caller.agent_id, **profile, lastUpdatedAt=caller.store.now()
    )
    return ToolResult(f"You are in the swarm as {agent['name']}.", {"agent": agents.summary(agent)})


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
