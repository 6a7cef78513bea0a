"""Limits: body size and depth, request heads, connections, time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import orjson
import pytest
from local_swarm_api import KEY, Api, client
from patience import HANG_S
from starlette.datastructures import Headers

from agent_swarm_worker import http_server
from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.local_swarm import access, endpoint
from agent_swarm_worker.local_swarm.serve import LocalSwarm

if TYPE_CHECKING:
    from anyio.abc import SocketStream

pytestmark = pytest.mark.anyio
MCP_HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
HEAD = b"POST /api/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@contextlib.asynccontextmanager
async def small_swarm() -> AsyncIterator[tuple[LocalSwarm, httpx2.AsyncClient]]:
    async with LocalSwarm() as swarm, client(swarm.url, "") as http:
        yield swarm, http


async def connect(swarm: LocalSwarm) -> SocketStream:
    host, port = swarm.url.removeprefix("http://").split(":")
    return await anyio.connect_tcp(host, int(port))


async def rest_of(stream: SocketStream) -> bytes:
    """Read to the end, however it comes."""
    said = b""
    with anyio.fail_after(5), contextlib.suppress(anyio.BrokenResourceError):
        async for chunk in stream:
            said += chunk
    return said


# --- bodies
async def test_a_body_beyond_the_limit_is_refused_before_it_has_come() -> None:
    async with small_swarm() as (swarm, http):
        agent = await Api(http).agent()
        for path in ("/api/tasks", "/mcp"):
            stream = await connect(swarm)
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Agent-ID: {agent.id}\r\n"
            size = endpoint.MAX_JSON_BYTES + 1
            await stream.send(f"{head}Content-Length: {size}\r\n\r\n".encode())
            with anyio.fail_after(5):
                said = await stream.receive()
            assert said.startswith(b"HTTP/1.1 413 "), said
            await stream.aclose()
        assert (await http.get("/api/tasks")).json()["total"] == 0


async def test_a_body_without_an_end_is_cut_and_its_caller_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "HEAD_TIMEOUT_S", 0.2)
    async with small_swarm() as (swarm, http):
        stream = await connect(swarm)
        await stream.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n%b\r\n" % (1 << 20, b"x" * (1 << 20))
        sent = 0
        with anyio.fail_after(20), contextlib.suppress(anyio.BrokenResourceError):
            while True:
                await stream.send(chunk)
                sent += 1
        assert sent > endpoint.MAX_JSON_BYTES >> 20
        await anyio.aclose_forcefully(stream)
        assert (await http.get("/health")).status_code == 200


async def test_half_a_body_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "BODY_TIMEOUT_S", 0.1)
    async with small_swarm() as (swarm, _):
        stream = await connect(swarm)
        await stream.send(HEAD + b"Content-Length: 100\r\n\r\n{")
        with anyio.fail_after(5):
            assert (await stream.receive()).startswith(b"HTTP/1.1 408 ")
        await stream.aclose()


def nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


async def test_depth_is_refused_in_words_and_what_passes_can_be_read_back() -> None:
    async with small_swarm() as (_, http):
        agent = await Api(http).agent()
        for levels in (endpoint.MAX_DEPTH, endpoint.MAX_DEPTH + 1, 500, 100_000):
            schema = nested(levels - 1)
            body = b'{"task": "t", "outputSchema": ' + schema + b"}"
            answer = await http.post("/api/tasks", content=body)
            if levels <= endpoint.MAX_DEPTH:
                assert answer.status_code == 201, answer.text
                task = await agent.read(answer.json()["id"])
                assert orjson.dumps(task["outputSchema"]) == schema
            else:
                assert answer.status_code == 400
                assert "nested more than" in answer.json()["error"]
        assert (await http.get("/api/tasks")).json()["total"] == 1


@pytest.mark.parametrize(
    "arguments",
    [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b"9" * 10_000, b"NaN", b'"\xff"', b"{"],
)
async def test_nonsense_over_mcp_is_refused_in_words(arguments: bytes) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"store-progress",'
    body += b'"arguments":' + arguments + b"}}"
    async with small_swarm() as (_, http):
        agent = await Api(http).agent()
        answer = await http.post("/mcp", content=body, headers={**MCP_HEADERS, **agent.headers})
        assert answer.status_code == 400
        assert set(answer.json()) == {"error"}


async def test_no_span_of_time_leads_out_of_the_calendar() -> None:
    async with small_swarm() as (_, http):
        agent = await Api(http).agent()
        for minutes in (2**53 - 1, 1):
            path = "/api/active-sessions/cleanup"
            assert (await agent.post(path, {"maxAgeMinutes": minutes}))["cleaned"] == 0


async def test_a_number_beyond_the_database_is_kept_as_near_as_can_be() -> None:
    async with small_swarm() as (_, http):
        agent = await Api(http).agent()
        cost = {"sessionId": "s", "agentId": agent.id, "model": "m", "totalCostUsd": 2**64 - 1}
        await agent.post("/api/session-costs", {**cost, "durationMs": 1, "numTurns": 1}, 201)
        rows = (await agent.get(f"/api/session-costs?agentId={agent.id}"))["costs"]
        assert rows[0]["totalCostUsd"] == pytest.approx(2**64)


# --- heads and connections
@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 100_000,
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 100_000,
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: a\r\n" * 20_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /api/tasks HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/tasks HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /health HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET /h\xc3\xa4lth HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=range(10),
)
async def test_a_head_that_is_none_gets_400_and_nobody_is_hurt(head: bytes) -> None:
    async with small_swarm() as (swarm, http):
        stream = await connect(swarm)
        with contextlib.suppress(anyio.BrokenResourceError):
            await stream.send(head)
        said = await rest_of(stream)
        await stream.aclose()
        assert b"HTTP/1.1 400 " in said or not said
        assert b"HTTP/1.1 2" not in said
        assert b"Traceback" not in said
        assert (await http.get("/health")).status_code == 200


async def test_who_never_asks_is_shown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEAD_TIMEOUT_S", 0.2)
    async with small_swarm() as (swarm, http):
        silent, half, dripping, between = [await connect(swarm) for _ in range(4)]
        await half.send(HEAD)
        await between.send(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await between.receive()).startswith(b"HTTP/1.1 200 ")
        await between.send(b"GET /hea")  # of its second request
        began = time.monotonic()
        with contextlib.suppress(anyio.BrokenResourceError):
            while time.monotonic() - began < HANG_S:
                await dripping.send(b"G")
                await anyio.sleep(0.02)
        assert time.monotonic() - began < HANG_S, "one byte at a time kept a connection"
        for stream in (silent, half, between):
            await rest_of(stream)
        for stream in (silent, half, dripping, between):
            await anyio.aclose_forcefully(stream)
        assert (await http.get("/health")).status_code == 200


async def test_an_idle_client_between_two_requests_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only whoever has begun a request is waited for in vain."""
    monkeypatch.setattr(http_server, "HEAD_TIMEOUT_S", 0.1)
    async with small_swarm() as (swarm, _):
        stream = await connect(swarm)
        for _ in range(2):
            await stream.send(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            with anyio.fail_after(5):
                assert (await stream.receive()).startswith(b"HTTP/1.1 200 ")
            await anyio.sleep(0.2)
        await stream.aclose()


async def test_many_idle_connections_starve_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 8)
    async with small_swarm() as (swarm, http):
        agent = await Api(http).agent()  # has asked before, and stays connected
        idlers: list[Any] = []
        for _ in range(40):
            idlers.append(await connect(swarm))
            with contextlib.suppress(anyio.BrokenResourceError):
                await idlers[-1].send(b"GET /hea")
            if len(idlers) % 10 == 0:
                assert (await agent.call("GET", "/me")).status_code == 200
        late = await Api(http).agent()
        assert (await late.status()) == "idle"
        with anyio.fail_after(5):
            for stream in idlers[:30]:
                await rest_of(stream)
        for stream in idlers:
            await anyio.aclose_forcefully(stream)


async def test_with_all_places_at_work_a_newcomer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 3)
    async with LocalSwarm() as swarm:
        busy = [await connect(swarm) for _ in range(3)]
        for stream in busy:
            await stream.send(HEAD + b"Content-Length: 100\r\n\r\n{")
        with anyio.fail_after(5):
            while True:
                late = await connect(swarm)
                said = await rest_of(late)
                await late.aclose()
                if said.startswith(b"HTTP/1.1 503 "):
                    break
        for stream in busy:
            await stream.send(b'"task": "t"' + b" " * 87 + b"}")
            assert (await stream.receive()).startswith(b"HTTP/1.1 201 ")
            await stream.aclose()


# --- strangers
@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "::", "::ffff:0.0.0.0", "0", "", "*", "localhost.evil", "evil.localhost"),
        *(
            "127.0.0.1.evil.example",
            "2130706433",
            "0x7f.1",
            "10.0.0.1",
            "fe80::1%lo",
            "localhost\0",
        ),
    ],
)
def test_other_machines_need_a_key(host: str) -> None:
    with pytest.raises(BadSetting):
        LocalSwarm(host=host)


@pytest.mark.parametrize(
    "headers",
    [
        [("Host", "localhost.evil:1")],
        [("Host", "127.0.0.1@evil.example")],
        [("Host", "[::ffff:192.0.2.1]")],
        [("Host", "0.0.0.0")],
        [("Host", "")],
        [("Host", "127.0.0.1"), ("Origin", "http://localhost"), ("Origin", "http://evil.example")],
        [("Host", "127.0.0.1"), ("Origin", "file://")],
        [("Host", "127.0.0.1"), ("Origin", "http://127.0.0.1.evil.example")],
        [("Host", "127.0.0.1"), ("Origin", "http://127.0.0.1\\@evil.example")],
        [("Host", "127.0.0.1"), ("Sec-Fetch-Site", "cross-site")],
    ],
    ids=range(10),
)
async def test_a_page_from_elsewhere_reaches_no_route(headers: list[tuple[str, str]]) -> None:
    async with small_swarm() as (_, http):
        for path in ("/api/tasks", "/mcp", "/api/fs/tasks/x/files", "/%68ealth/../api/tasks"):
            answer = await http.get(path, headers=headers)
            assert answer.status_code == 403, (path, answer.text)


@pytest.mark.parametrize(
    "words",
    [
        *("", "Bearer", f"Basic {KEY}", KEY, f"Bearer {KEY[:-1]}", f"Bearer {KEY}x"),
        *(f"Bearer {KEY.upper()}", f"Bearer {KEY} {KEY}", "Bearer \xff\xfe", f"Bearer\t{KEY}"),
    ],
)
async def test_every_route_requires_the_key(words: str) -> None:
    async with LocalSwarm(api_key=KEY) as swarm, client(swarm.url, "") as http:
        headers = [(b"Authorization", words.encode("latin-1")), (b"Sec-Fetch-Site", b"none")]
        paths = ("/api/tasks", "/mcp", "/api/fs/tasks/x/files/y/raw", "/api/config/resolved", "//")
        for path in (*paths, "/health/", "/health/../api/tasks", "/api/skills/x/files/health"):
            for method in ("GET", "POST", "OPTIONS", "HEAD"):
                answer = await http.request(method, path, headers=headers)
                assert answer.status_code == 401, (method, path)


def test_the_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return False

    monkeypatch.setattr(access.hmac, "compare_digest", compare)
    control = access.AccessControl(None, KEY)  # type: ignore[arg-type]
    assert not control._knows_key(Headers({"authorization": f"Bearer {KEY}"}))
    assert seen == [(KEY.encode(), KEY.encode())]
