"""MCP servers over HTTP: the local swarm's, and ones that misbehave on every level."""

from __future__ import annotations

import json
import uuid
from typing import Any

import anyio
import httpx2
import pytest
from http_servers import INITIALIZED, TOOLS, Request, good, said, serving
from mcp_rig import http, session
from patience import HANG_S

from agent_swarm_worker.contract import McpServer
from agent_swarm_worker.local_swarm.serve import LocalSwarm
from agent_swarm_worker.providers.kit.mcp_config import swarm_server

pytestmark = pytest.mark.anyio
KEY = "test-api-key-0123456789"


async def test_the_swarm_s_own_tools():
    agent_id = str(uuid.uuid4())
    async with LocalSwarm(api_key=KEY) as swarm:
        auth = {"Authorization": f"Bearer {KEY}", "X-Agent-ID": agent_id}
        async with httpx2.AsyncClient(base_url=swarm.url, headers=auth, verify=False) as api:
            (await api.post("/api/agents", json={"name": "a"})).raise_for_status()
            task = (await api.post("/api/tasks", json={"task": "x", "agentId": agent_id})).json()
        server = swarm_server(api_url=swarm.url, api_key=KEY, agent_id=agent_id, task_id=task["id"])
        async with session(server) as ours:
            assert ours.warnings == []
            said = await ours.use("mcp__agent-swarm__get-task-details", taskId=task["id"])
            assert task["id"] in said
            await ours.fails("mcp__agent-swarm__get-task-details", taskId=str(uuid.uuid4()))
        stranger = swarm_server(
            api_url=swarm.url, api_key="wrong-key-000000", agent_id=agent_id, task_id="t"
        )
        async with session(stranger) as ours:
            assert ours.tools == {}
            assert "not available" in ours.warnings[0]


async def test_every_request_carries_the_headers():
    async with serving(good) as server:
        headers = {"Authorization": "Bearer k", "X-Agent-ID": "a", "X-Source-Task-Id": "t"}
        async with session(http(server.url, **headers)) as ours:
            assert await ours.use("mcp__s__echo", a=1) == '{"a": 1}'
        assert len(server.requests) >= 4
        for request in server.requests:
            assert {name.lower(): value for name, value in headers.items()}.items() <= (
                request.headers.items()
            )


def instead(method: str, answer: Any) -> Any:
    async def handler(request: Request) -> None:
        if request.call.get("method") == method:
            await answer(request)
        else:
            await good(request)

    return handler


async def refused(request: Request) -> None:
    await request.reply(b"<h1>oops</h1>", status=500, content_type="text/html")


async def no_json(request: Request) -> None:
    await request.reply(b"{nonsense")


async def html(request: Request) -> None:
    await request.reply(b"<h1>hello</h1>", content_type="text/html")


async def reset(request: Request) -> None:
    await request.socket.aclose()


async def half(request: Request) -> None:
    head = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
    await request.socket.send(head)
    await request.socket.aclose()


async def cut_stream(request: Request) -> None:
    await request.reply(b": nothing\n\n", content_type="text/event-stream")


async def packed(request: Request) -> None:
    await request.reply(b"\x1f\x8b\x08\0", content_encoding="gzip")


async def flood(request: Request) -> None:
    size = 10**10
    head = f"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    await request.socket.send(head.encode())
    while True:
        await request.socket.send(b" " * 65536)


async def silent(_: Request) -> None:
    await anyio.sleep_forever()


async def elsewhere(request: Request) -> None:
    await request.reply(status=307, location="http://127.0.0.1:9/mcp")


async def deep(request: Request) -> None:
    await request.reply(b"[" * 100_000)


BAD = [refused, no_json, html, reset, half, cut_stream, packed, flood, elsewhere, deep]


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: answer.__name__)
@pytest.mark.parametrize("method", ["initialize", "tools/list"])
async def test_a_server_that_cannot_be_used_costs_its_tools(method: str, answer: Any):
    async with (
        serving(instead(method, answer)) as bad,
        serving(good) as other,
        session(http(bad.url), http(other.url, "other")) as ours,
    ):
        assert set(ours.tools) == {"mcp__other__echo"}
        assert len(ours.warnings) == 1
        assert await ours.use("mcp__other__echo") == "{}"


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: answer.__name__)
async def test_a_call_that_goes_wrong_costs_that_call(answer: Any):
    is_bad = True

    async def sometimes(request: Request) -> None:
        await (answer if is_bad else good)(request)

    async with (
        serving(instead("tools/call", sometimes)) as server,
        serving(good) as other,
        session(http(server.url), http(other.url, "other")) as ours,
    ):
        with anyio.fail_after(15):  # well below the time limit of a call
            assert "tool server s:" in await ours.fails("mcp__s__echo")
        assert await ours.use("mcp__other__echo") == "{}"
        is_bad = False
        assert await ours.use("mcp__s__echo") == "{}"


@pytest.mark.long
async def test_servers_that_never_answer_are_waited_for_together():
    waited_for, at_once = 0, 0

    async def counted(request: Request) -> None:
        nonlocal waited_for, at_once
        waited_for += 1
        at_once = max(at_once, waited_for)
        try:
            await silent(request)
        finally:
            waited_for -= 1

    async with serving(counted) as one, serving(counted) as two, serving(good) as other:
        servers = [http(one.url, "one"), http(two.url, "two"), http(other.url, "other")]
        async with session(*servers, connect_s=3) as ours:
            assert at_once == 2
            assert set(ours.tools) == {"mcp__other__echo"}
    assert "no answer within 3 s" in ours.warnings[0]


async def test_a_call_that_is_never_answered_ends_and_can_be_cancelled():
    async with serving(instead("tools/call", silent)) as server:
        async with session(http(server.url), call_s=0.5) as ours:
            assert "no answer to echo within 0.5 s" in await ours.fails("mcp__s__echo")
        async with session(http(server.url), call_s=60) as ours:
            with anyio.fail_after(HANG_S), anyio.move_on_after(0.3):
                await ours.use("mcp__s__echo")


async def test_nobody_listening_and_no_address():
    servers = [
        http("http://127.0.0.1:1/mcp", "closed"),
        http("nonsense", "nonsense"),
        http("http://127.0.0.1:1/mcp", "header", X="a\nb"),
        McpServer(name="sse", transport="sse", url="http://127.0.0.1:1/sse"),
    ]
    async with session(*servers) as ours:
        assert ours.tools == {}
    assert len(ours.warnings) == 4


async def test_a_server_that_was_restarted_is_greeted_again():
    sessions: list[str] = []

    async def handler(request: Request) -> None:
        if request.call.get("method") == "initialize":
            sessions.append(f"session-{len(sessions)}")
            await request.result(INITIALIZED, mcp_session_id=sessions[-1])
        elif request.headers.get("mcp-session-id") != sessions[-1]:
            await request.reply(status=404)
        else:
            await good(request)

    async with serving(handler) as server, session(http(server.url)) as ours:
        assert await ours.use("mcp__s__echo") == "{}"
        sessions.append("another")  # it has forgotten us
        assert await ours.use("mcp__s__echo", a=1) == '{"a": 1}'
        assert sessions[-1] == "session-2"


async def test_connections_dropped_while_idle_do_no_harm():
    async with (
        serving(good) as server,
        serving(good) as other,
        session(http(server.url), http(other.url, "other")) as ours,
    ):
        for socket in server.sockets:
            await socket.aclose()
        assert await ours.use("mcp__other__echo") == "{}"
        outcomes = [await ours.tools["mcp__s__echo"].run({}) for _ in range(2)]
        assert not outcomes[-1].is_error


async def test_a_server_that_answers_in_events():
    async def handler(request: Request) -> None:
        if request.call.get("method") == "tools/call":
            note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}
            answer = {"jsonrpc": "2.0", "id": request.call["id"], "result": said("from events")}
            events = "".join(f"event: message\ndata: {json.dumps(e)}\n\n" for e in (note, answer))
            await request.reply(events.encode(), content_type="text/event-stream")
        else:
            await good(request)

    async with serving(handler) as server, session(http(server.url)) as ours:
        assert await ours.use("mcp__s__echo") == "from events"


async def test_a_server_of_the_older_kind():
    streams: list[Request] = []
    results = {"initialize": INITIALIZED, "tools/list": TOOLS, "tools/call": said("over sse")}

    async def handler(request: Request) -> None:
        if request.method == "GET":
            streams.append(request)
            head = b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n"
            await request.socket.send(head + b"event: endpoint\ndata: /messages?s=1\n\n")
            return
        await request.reply(status=202)
        if result := results.get(request.call["method"]):
            answer = {"jsonrpc": "2.0", "id": request.call["id"], "result": result}
            event = f"event: message\ndata: {json.dumps(answer)}\n\n"
            await streams[-1].socket.send(event.encode())

    async with serving(handler) as server:
        sse = McpServer(name="s", transport="sse", url=server.url, headers={"X-Key": "k"})
        async with session(sse) as ours:
            assert ours.warnings == []
            assert await ours.use("mcp__s__echo") == "over sse"
            await streams[-1].socket.aclose()
            outcomes = [await ours.tools["mcp__s__echo"].run({}) for _ in range(2)]
            assert outcomes[-1].text == "over sse"
        assert all(request.headers["x-key"] == "k" for request in server.requests)
