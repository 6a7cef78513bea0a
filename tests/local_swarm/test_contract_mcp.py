"""The swarm's tools over MCP, with the library's own client (docs/api.md 15.3)."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local_swarm_api import Agent, Api, Local

pytestmark = pytest.mark.anyio

NEEDED = {
    "accept-steer",
    "cancel-task",
    "get-swarm",
    "get-task-details",
    "get-tasks",
    "join-swarm",
    "memory-get",
    "memory-search",
    "memory-store",
    "my-agent-info",
    "poll-task",
    "request-human-input",
    "send-task",
    "store-progress",
    "task-action",
}
OUR_OWN = {
    "inject-learning",
    "list-channels",
    "offer-task",
    "post-message",
    "read-messages",
    "trigger-workflow",
}


class Tools:
    """The tools as one agent's session sees them."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def use(self, name: str, /, *, fails: bool = False, **arguments: Any) -> Any:
        result = await self.client.call_tool(name, arguments)
        assert bool(result.is_error) == fails, result
        return result.structured_content


@asynccontextmanager
async def tools_of(agent: Agent, task: Any = None, mode: str = "auto") -> AsyncIterator[Tools]:
    """Connect as the agent, from a session of `task`, with the headers of docs/api.md 15.3."""
    headers = {**agent.http.headers, **agent.headers}
    if task is not None:
        headers["X-Source-Task-Id"] = task["id"]
    url = f"{str(agent.http.base_url).rstrip('/')}/mcp"
    async with httpx2.AsyncClient(headers=headers, trust_env=False, verify=False) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode) as client:
            yield Tools(client)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_tools_are_there_for_new_and_old_clients(api: Api, mode: str) -> None:
    agent = await api.agent()
    async with tools_of(agent, mode=mode) as tools:
        listed = {tool.name: tool for tool in (await tools.client.list_tools()).tools}
        assert set(listed) >= NEEDED
        shape = listed["store-progress"].input_schema["properties"]
        assert {"taskId", "progress", "status", "output", "failureReason"} <= set(shape)


@pytest.mark.parametrize("agent_id", ["", "5b0e3a38-3f5c-4c0e-9d1f-9f6f0f2f7d11"])
async def test_only_known_agents_get_in(api: Api, agent_id: str) -> None:
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        },
    }
    headers = {"Accept": "application/json, text/event-stream"}
    headers |= {"X-Agent-ID": agent_id} if agent_id else {}
    answer = await api.http.post("/mcp", json=hello, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]


async def test_progress_and_completion(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    async with tools_of(agent, task) as tools:
        await tools.use("store-progress", taskId=task["id"], progress="half way")
        assert (await agent.read(task["id"]))["progress"] == "half way"
        words = {"taskId": task["id"], "status": "completed", "output": "the result"}
        said = await tools.use("store-progress", **words)
        assert said["task"]["status"] == "completed"
        again = await tools.use("store-progress", **words)
        assert again["wasNoOp"] is True
        await tools.use("store-progress", fails=True, **{**words, "output": "another"})
    shown = await agent.read(task["id"])
    assert (shown["status"], shown["output"]) == ("completed", "the result")
    assert await agent.status() == "idle"
    # The worker finishes after its agent did: the same words are fine, others are discarded.
    await agent.finish(task, status="completed", output="the result")
    await agent.finish(task, 409, status="completed", output="last message")


async def test_failure(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    async with tools_of(agent, task) as tools:
        words = {"taskId": task["id"], "status": "failed", "failureReason": "no disk"}
        await tools.use("store-progress", **words)
    assert (await agent.read(task["id"]))["failureReason"] == "no disk"


@pytest.mark.parametrize("output", [None, "text", '{"n": "seven"}', "[]"])
async def test_completion_has_to_match_the_output_schema(api: Api, output: str | None) -> None:
    agent = await api.agent()
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "number"}}}
    task = await agent.started(outputSchema=schema)
    async with tools_of(agent, task) as tools:
        words = {"taskId": task["id"], "status": "completed"}
        given = {} if output is None else {"output": output}
        await tools.use("store-progress", fails=True, **words, **given)
        assert (await agent.read(task["id"]))["status"] == "in_progress"
        await tools.use("store-progress", **words, output='{"n": 7}')
    assert (await agent.read(task["id"]))["output"] == '{"n": 7}'


@pytest.mark.long
async def test_a_schema_without_sense_holds_nobody_up(local: Local) -> None:
    agent = await local.agent(maxTasks=9)
    for schema in (
        {"type": "no such type"},
        {"$ref": "http://192.0.2.1/never-fetched.json"},
        {"$ref": "#"},
        {"pattern": "("},
        {"pattern": "(a+)+$"},
    ):
        task = await agent.started(outputSchema=schema)
        async with tools_of(agent, task) as tools:
            output = f'"{"a" * 64}!"'
            await tools.use("store-progress", status="completed", output=output)


async def test_a_pattern_is_matched(local: Local) -> None:
    agent = await local.agent()
    task = await agent.started(outputSchema={"pattern": "^b"})
    async with tools_of(agent, task) as tools:
        await tools.use("store-progress", fails=True, status="completed", output='"a"')
        await tools.use("store-progress", status="completed", output='"b"')


async def test_sent_tasks_are_children_of_the_senders(api: Api) -> None:
    agent, other = await api.agent(), await api.agent()
    task = await agent.started("parent")
    async with tools_of(agent, task) as tools:
        await tools.use("send-task", fails=True, agentId=agent.id, task="to myself")
        said = await tools.use("send-task", agentId=other.id, task="please help", priority=60)
        child = said["task"]
        assert (child["parentTaskId"], child["creatorAgentId"]) == (task["id"], agent.id)
        assert child["status"] == "pending"
        await tools.use("send-task", fails=True, agentId=other.id, task="please help")
        offered = await tools.use("send-task", agentId=other.id, task="maybe", offerMode=True)
        assert offered["task"]["status"] == "offered"
        await tools.use("cancel-task", taskId=offered["task"]["id"], reason="never mind")
        theirs = await other.task("theirs")
        await tools.use("cancel-task", fails=True, taskId=theirs["id"])
        found = await tools.use("get-tasks", status="cancelled", search="maybe")
        assert offered["task"]["id"] in [row["id"] for row in found["tasks"]]
    assert (await other.poll())["taskId"] == child["id"]  # the urgent one


async def test_without_a_receiver_it_goes_to_the_pool_and_can_be_claimed(local: Local) -> None:
    agent, other = await local.agent(), await local.agent()
    task = await agent.started("parent")
    async with tools_of(agent, task) as tools:
        pooled = (await tools.use("send-task", task="for anybody"))["task"]
        assert (pooled["status"], pooled["agentId"]) == ("unassigned", None)
        await tools.use("task-action", fails=True, action="claim", taskId=pooled["id"])
    async with tools_of(other) as tools:
        await tools.use("task-action", action="to_backlog", taskId=pooled["id"])
        assert await other.poll() is None
        await tools.use("task-action", action="from_backlog", taskId=pooled["id"])
        claimed = await tools.use("task-action", action="claim", taskId=pooled["id"])
        assert (claimed["task"]["status"], claimed["task"]["agentId"]) == ("in_progress", other.id)
        await tools.use("task-action", action="release", taskId=pooled["id"])
        created = await tools.use("task-action", action="create", task="mine", priority=99)
        polled = await tools.use("poll-task")
        assert polled["trigger"]["taskId"] == created["task"]["id"]


async def test_an_offer_can_be_accepted_or_rejected_even_once_polled(local: Local) -> None:
    agent, other = await local.agent(), await local.agent(maxTasks=3)
    async with tools_of(agent) as tools:
        ids = [
            (await tools.use("offer-task", agentId=other.id, task=text))["task"]["id"]
            for text in ("yes", "no")
        ]
        await tools.use("task-action", fails=True, action="accept", taskId=ids[0])
    assert (await other.poll())["type"] == "task_offered"
    async with tools_of(other) as tools:
        accepted = await tools.use("task-action", action="accept", taskId=ids[0])
        assert (accepted["task"]["status"], accepted["task"]["agentId"]) == ("pending", other.id)
        rejected = await tools.use("task-action", action="reject", taskId=ids[1], reason="busy")
        assert rejected["task"]["status"] == "unassigned"
        assert rejected["task"]["rejectionReason"] == "busy"
    assert (await other.poll())["taskId"] == ids[0]


async def test_memory_is_found_again(api: Api) -> None:
    agent, other = await api.agent(), await api.agent()
    task = await agent.started()
    word = f"zanzibar{uuid.uuid4().hex[:8]}"
    async with tools_of(agent, task) as tools:
        note: dict[str, Any] = {
            "content": f"The {word} pipeline needs Node 22.",
            "name": f"{word} pipeline",
        }
        stored = await tools.use("memory-store", **note)
        found = await tools.use("memory-search", query=f"{word} pipeline", intent="test")
        assert found["results"][0]["id"] == stored["memoryIds"][0]
        full = await tools.use("memory-get", memoryId=stored["memoryIds"][0], intent="test")
        assert full["memory"]["content"] == note["content"]
    async with tools_of(other) as tools:
        found = await tools.use("memory-search", query=f"{word} pipeline", intent="test")
        assert stored["memoryIds"][0] not in [row["id"] for row in found["results"]]


async def test_who_is_who(api: Api) -> None:
    agent = await api.agent()
    async with tools_of(agent) as tools:
        me = await tools.use("my-agent-info")
        assert (me["yourAgentId"], me["yourAgentInfo"]["id"]) == (agent.id, agent.id)
        swarm = await tools.use("get-swarm")
        assert {"id", "name", "status"} <= set(swarm["agents"][0])


async def test_steering_is_accepted(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    asked = await agent.post(f"/api/tasks/{task['id']}/steer", {"message": "faster"})
    message_id = asked["steeringMessageId"]
    await agent.post(f"/api/steering-messages/{message_id}/delivered", {"mode": "queue"})
    async with tools_of(agent, task) as tools:
        await tools.use("accept-steer", steeringMessageId=message_id, note="will do")
    (message,) = (await agent.get(f"/api/tasks/{task['id']}/steering-messages"))["messages"]
    assert (message["status"], message["handledNote"]) == ("handled", "will do")


async def test_a_person_is_asked_and_the_answer_comes_as_a_task(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    question = {"id": "q", "type": "approval", "label": "Deploy?", "required": True}
    async with tools_of(agent, task) as tools:
        asked = await tools.use("request-human-input", title="Deploy", questions=[question])
    path = f"/api/approval-requests/{asked['requestId']}"
    assert (await agent.get(path))["approvalRequest"]["status"] == "pending"
    await agent.post(f"{path}/respond", {"responses": {}}, 400)
    answers = {"responses": {"q": {"approved": False, "comment": "not today"}}}
    answered = await agent.post(f"{path}/respond", answers)
    assert answered["approvalRequest"]["status"] == "rejected"
    await agent.post(f"{path}/respond", answers, 409)
    await agent.finish(task)
    trigger = await agent.poll()
    assert trigger["task"]["parentTaskId"] == task["id"]
    assert "Deploy" in trigger["task"]["task"]


# --- what only this server has
async def test_the_local_swarm_has_all_tools_and_takes_the_task_from_the_header(
    local: Local,
) -> None:
    agent = await local.agent()
    task = await agent.started()
    async with tools_of(agent, task) as tools:
        listed = {tool.name for tool in (await tools.client.list_tools()).tools}
        assert listed == NEEDED | OUR_OWN
        await tools.use("store-progress", status="in_progress", progress="from the header")
        assert (await tools.use("get-task-details"))["task"]["progress"] == "from the header"
        await tools.use("trigger-workflow", fails=True, id="deploy")
        await tools.use("no-such-tool", fails=True)
        await tools.use("store-progress", fails=True, taskId="not a uuid")
    async with tools_of(agent) as tools:
        said = await tools.use("store-progress", fails=True, progress="whose?")
        assert "taskId" in said["message"]


async def test_mentions_wake_an_agent_up(local: Local) -> None:
    agent, other = await local.agent(), await local.agent(maxTasks=1)
    await other.started("busy, but mentions have no capacity check")
    async with tools_of(agent) as tools:
        (channel,) = (await tools.use("list-channels"))["channels"]
        await tools.use("post-message", content="all hands")
        await tools.use("post-message", content="you!", mentions=[other.id])
        await tools.use("post-message", fails=True, channel="nowhere", content="?")
    inbox = (await other.get("/me?include=inbox"))["inbox"]
    assert (inbox["unreadCount"], inbox["mentionsCount"]) == (2, 1)
    assert inbox["recentMentions"][0]["content"] == "you!"
    trigger = await other.poll()
    assert (await other.get("/me?include=inbox"))["inbox"]["unreadCount"] == 0
    claimed = [channel["id"]]
    assert trigger == {
        "type": "unread_mentions",
        "mentionsCount": 0,
        "claimedChannels": claimed,
    }
    assert await other.poll() is None
    async with tools_of(other) as tools:
        read = await tools.use("read-messages", mentionsOnly=True, markAsRead=False)
        assert [message["content"] for message in read["messages"]] == ["you!"]
        read = await tools.use("read-messages")
        assert [message["content"] for message in read["messages"]] == ["all hands", "you!"]
        assert (await tools.use("read-messages"))["messages"] == []
        named = await tools.use("read-messages", channel="general", limit=1)
        assert [message["content"] for message in named["messages"]] == ["you!"]
    assert await other.poll() is None
    assert await agent.poll() is None


async def test_a_lead_teaches(local: Local) -> None:
    lead, agent = await local.agent(isLead=True), await local.agent()
    lesson: dict[str, Any] = {
        "agentId": agent.id,
        "learning": "Quote paths.",
        "category": "best-practice",
    }
    async with tools_of(agent) as tools:
        await tools.use("inject-learning", fails=True, **lesson)
    async with tools_of(lead) as tools:
        await tools.use("inject-learning", **lesson)
        assert (await tools.use("memory-search", query="quote paths"))["results"] == []
    async with tools_of(agent) as tools:
        assert len((await tools.use("memory-search", query="quote paths"))["results"]) == 1


async def test_what_a_task_came_to_is_remembered(local: Local) -> None:
    agent = await local.agent()
    task = await agent.started("Upgrade the flux capacitor")
    async with tools_of(agent, task) as tools:
        await tools.use("store-progress", status="completed", output="Now at 1.21 gigawatts")
    query = {"query": "flux capacitor"}
    (found,) = (await agent.post("/api/memory/search", query))["results"]
    assert found["source"] == "task_completion"
    assert "gigawatts" in found["content"]


async def test_joining_keeps_what_registration_dropped(local: Local) -> None:
    agent = await local.agent()
    async with tools_of(agent) as tools:
        await tools.use("join-swarm", name="x", role="tester", capabilities=["py"])
    me = await agent.get("/me")
    assert (me["role"], me["capabilities"]) == ("tester", ["py"])


async def test_the_door_takes_posts_only(local: Local) -> None:
    agent = await local.agent()
    for method in ("GET", "DELETE"):
        answer = await agent.call(method, "/mcp")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
