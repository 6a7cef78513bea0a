"""The fault proxy: requests with a fault, and unchanged requests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from patience import HANG_S

from chaos import faults
from chaos.faults import Fault, Kind
from chaos.proxy import FaultProxy

pytestmark = pytest.mark.anyio

BIG = bytes(range(256)) * 8192


class Upstream:
    """A real HTTP server that echoes, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.left = anyio.Event()
        """Set when the reader of the endless stream has left."""

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        self.asked.append(f"{scope['method']} {scope['path']}")
        content = b""
        while (event := await receive())["type"] == "http.request":
            content += event.get("body", b"")
            if not event.get("more_body"):
                break
        if scope["path"] == "/stream":
            await self.stream(receive, send)
            return
        length = [(b"content-length", str(len(content)).encode())]
        if scope["path"] == "/chunked":
            length = []
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": content})

    async def stream(self, receive, send) -> None:
        kind = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, str]]:
    from agent_swarm_worker.http_server import HttpServer
    from agent_swarm_worker.local_swarm.serve import _listen

    app = Upstream()
    with _listen("127.0.0.1", 0) as listener:
        server = HttpServer(app)
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            yield app, f"http://127.0.0.1:{listener.getsockname()[1]}"
            server.stop()
            await server.stopped()
            group.cancel_scope.cancel()


@asynccontextmanager
async def through(url: str) -> AsyncIterator[tuple[FaultProxy, httpx2.AsyncClient]]:
    async with (
        FaultProxy(url) as proxy,
        httpx2.AsyncClient(
            base_url=proxy.url, timeout=0.5, trust_env=False, verify=False
        ) as client,
    ):
        yield proxy, client


@pytest.mark.parametrize("path", ["/plain", "/chunked"])
async def test_what_is_not_harmed_passes_unchanged(upstream, path: str):
    app, url = upstream
    async with through(url) as (proxy, client):
        for content in (b"", b"x", BIG):
            assert (await client.post(path, content=content)).content == content
        assert (await client.get(path)).status_code == 200
        assert [(seen.path, seen.status, seen.fault) for seen in proxy.seen] == [
            (path, 200, None)
        ] * 4
    assert len(app.asked) == 4


async def test_a_stream_passes_as_it_comes_and_its_reader_leaving_is_passed_on(upstream):
    app, url = upstream
    async with through(url) as (_, client):
        async with client.stream("GET", "/stream") as answer:
            assert await anext(answer.aiter_bytes()) == b"data: 1\n\n"
            assert not app.left.is_set()
        with anyio.fail_after(HANG_S):
            await app.left.wait()


FATES = {
    Fault(Kind.REFUSE): ("gone", 0),
    Fault(Kind.HANG): ("gone", 0),
    faults.ANSWER_500: (500, 0),
    faults.HTML_502: (502, 0),
    faults.HTML_200: (200, 0),
    faults.HALF_BODY: ("gone", 1),
    faults.LOSE_ANSWER: ("gone", 1),
    faults.LATE_500: (500, 1),
    faults.DUPLICATE: (200, 2),
    faults.drip(0.1): (200, 1),
    faults.delay(0.1): (200, 1),
}


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("fault", FATES, ids=str)
async def test_each_fault_and_how_often_the_api_is_asked(upstream, fault: Fault, once: bool):
    app, url = upstream
    told, asked = FATES[fault]
    async with through(url) as (proxy, client):
        await client.post("/before", content=b"12345678")
        proxy.next(fault, "/harmed") if once else proxy.set(fault)
        begun = time.monotonic()
        try:
            answer = await client.post("/harmed", content=b"12345678")
            outcome: object = answer.status_code
        except httpx2.TransportError:
            outcome = "gone"
        took_s = time.monotonic() - begun
        assert outcome == told
        assert app.asked.count("POST /harmed") == asked
        if fault.kind in {Kind.DRIP, Kind.DELAY}:
            assert took_s > 0.09
            assert answer.content == b"12345678"
        proxy.heal()
        assert (await client.post("/after", content=b"12345678")).content == b"12345678"
        if once:
            (seen,) = (seen for seen in proxy.seen if seen.fault)
            assert (seen.path, seen.fault) == ("/harmed", fault)


async def test_a_listener_that_is_gone_is_refused_before_a_byte_is_sent_and_keeps_its_port(
    upstream,
):
    app, url = upstream
    async with through(url) as (proxy, client):
        await client.get("/before")
        for _ in range(3):
            proxy.set(faults.REFUSE)
            await anyio.sleep(0.02)
            with pytest.raises(httpx2.ConnectError):
                await client.get("/refused")
            proxy.set(None)
            assert (await client.get("/after")).status_code == 200
    assert "GET /refused" not in app.asked


async def test_only_what_matches_is_harmed_and_only_so_often(upstream):
    _, url = upstream
    async with through(url) as (proxy, client):
        proxy.next(faults.ANSWER_500, lambda method, path: method == "POST", times=2)
        proxy.next(faults.HTML_502, r"/b\?x=1$")
        assert (await client.get("/a")).status_code == 200
        assert [(await client.post("/a")).status_code for _ in range(3)] == [500, 500, 200]
        assert (await client.get("/b")).status_code == 200
        assert (await client.get("/b", params={"x": "1"})).status_code == 502
        assert proxy.planned == 0


async def test_an_api_that_is_down_is_answered_for_and_found_again(upstream):
    _, url = upstream
    async with through("http://127.0.0.1:1") as (proxy, client):
        assert (await client.get("/down")).status_code == 502
        proxy._port = int(url.rpartition(":")[2])
        assert (await client.get("/up")).status_code == 200
