"""One call: what is sent, and what becomes of every kind of answer."""

from __future__ import annotations

import contextlib
import gc
import math
import socket
import time

import httpcore2
import pytest
from fake_api import FakeClock, Hang, Reply, Reset, connected, free_port, serving
from patience import HANG_S
from structlog.testing import capture_logs

from agent_swarm_worker.api import http as http_module
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.api.values import NULL, encode, segment, verbatim
from agent_swarm_worker.errors import (
    ApiError,
    ApiGarbled,
    ApiRefused,
    ApiUnreachable,
    BadSetting,
    RouteMissing,
    Unauthorized,
)
from agent_swarm_worker.network import Address

pytestmark = pytest.mark.anyio
HTML = "<!DOCTYPE html><html><body>Bad Gateway</body></html>"


async def test_identity_and_key_are_sent() -> None:
    async with serving(lambda _: Reply()) as server, connected(server.url) as client:
        await client.http.request("POST", "/ping")
        await client.http.request("GET", "/health", identified=False)
    first, second = server.requests
    assert first.headers["authorization"] == "Bearer k3y"
    assert first.headers["x-agent-id"] == "agent-1"
    assert first.headers["x-runtime-instance-id"] == "run-1"
    assert "x-agent-id" not in second.headers


async def test_an_empty_key_sends_no_header() -> None:
    async with serving(lambda _: Reply()) as server, connected(server.url, api_key=" \n") as client:
        await client.http.request("POST", "/ping")
    assert "authorization" not in server.requests[0].headers


async def test_a_sent_body_is_released_without_a_garbage_collection() -> None:
    gc.collect()
    gc.disable()
    try:
        async with serving(lambda _: Reply()) as server, connected(server.url) as client:
            for _ in range(3):
                await client.http.request("POST", "/ping", body={"text": "x" * 1000})
            kept = [it for it in gc.get_objects() if isinstance(it, httpcore2.Request)]
    finally:
        gc.enable()
    assert kept == []


async def test_bodies_hold_no_nulls_and_nothing_json_cannot_say() -> None:
    body = {
        "absent": None,
        "nested": {"absent": None, "kept": [1, None, {"absent": None}]},
        "meant": NULL,
        "schema": verbatim({"const": None}),
        "nan": math.nan,
        "huge": 2**70,
        "broken": "a\ud800b",
    }
    async with serving(lambda _: Reply()) as server, connected(server.url) as client:
        await client.http.request("POST", "/x", body=body)
    assert server.requests[0].body == {
        "nested": {"kept": [1, None, {}]},
        "meant": None,
        "schema": {"const": None},
        "broken": "a?b",
    }


def test_bodies_without_end_are_cut() -> None:
    deep: object = "bottom"
    for _ in range(5000):
        deep = [deep]
    assert b"nested too deeply" in encode({"data": deep})


async def test_headers_and_query_leave_out_what_is_not_there() -> None:
    async with serving(lambda _: Reply()) as server, connected(server.url) as client:
        await client.http.request(
            "GET",
            "/x",
            params={"a": "1 2", "b": None},
            headers={"X-Context-Key": "one\r\nEvil: 1", "X-Source-Task-ID": "t", "X-None": None},
        )
    request = server.requests[0]
    assert request.query == {"a": "1 2"}
    assert request.headers["x-source-task-id"] == "t"
    assert "x-context-key" not in request.headers
    assert "evil" not in request.headers


@pytest.mark.parametrize("reply", [Reply(204), Reply(200, ""), Reply(200, " \n")])
async def test_no_body_is_no_value(reply: Reply) -> None:
    async with serving(lambda _: reply) as server, connected(server.url) as client:
        assert await client.http.request("POST", "/ping") is None
        assert await client.http.call("POST", "/ping") == {}


async def test_nobody_listens() -> None:
    async with connected(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(ApiUnreachable) as caught:
            await client.http.request("POST", "/x")
    assert not caught.value.ambiguous


async def test_a_host_that_does_not_let_us_in_is_not_ambiguous() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with connected(f"http://127.0.0.1:{full.getsockname()[1]}", timeout_s=0.3) as client:
            with pytest.raises(ApiUnreachable) as caught:
                await client.http.request("POST", "/x")
        for filler in fillers:
            filler.close()
    assert not caught.value.ambiguous


@pytest.mark.parametrize("answer", [Hang(), Reset(), Reply(200, {"a": 1}, drip_s=0.05)])
async def test_no_complete_answer_is_ambiguous_and_bounded(answer: Hang | Reset | Reply) -> None:
    async with serving(lambda _: answer) as server, connected(server.url, timeout_s=0.2) as client:
        begin = time.monotonic()
        with pytest.raises(ApiUnreachable) as caught:
            await client.http.request("POST", "/x")
    assert caught.value.ambiguous
    assert time.monotonic() - begin < HANG_S


async def test_a_call_may_have_a_limit_of_its_own() -> None:
    async with serving(lambda _: Hang()) as server, connected(server.url) as client:
        with pytest.raises(ApiUnreachable, match=r"within 0\.1 s"):
            await client.http.request("POST", "/x", timeout_s=0.1)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, HTML, "text/html"),
        Reply(200, b'{"a": 1', "application/json"),
        Reply(200, {"a": 1}, promised_bytes=500),
        Reply(200, b"\x1f\x8bnot gzip", headers=("Content-Encoding: gzip",)),
        Reply(302, "", headers=("Location: /elsewhere",)),
        Reply(404, HTML, "text/html"),
        Reply(404, "default backend - 404"),
        Reply(404, "404 page not found"),
        Reply(404, ""),
    ],
    ids=[
        *("html", "cut json", "half body", "bad gzip", "redirect"),
        *("404 page", "ingress 404", "proxy 404", "empty 404"),
    ],
)
async def test_answers_that_are_not_the_contract(reply: Reply) -> None:
    async with serving(lambda _: reply) as server, connected(server.url) as client:
        with pytest.raises(ApiGarbled) as caught:
            await client.http.request("GET", "/x")
    assert server.calls == ["GET /x"]
    assert "<" not in str(caught.value)


async def test_json_of_the_wrong_shape() -> None:
    async with serving(lambda _: Reply(200, [1])) as server, connected(server.url) as client:
        assert await client.http.request("GET", "/x") == [1]
        with pytest.raises(ApiGarbled):
            await client.http.call("GET", "/x")


async def test_an_endless_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "MAX_ANSWER_BYTES", 1000)
    monkeypatch.setattr(http_module, "LARGE_BYTES", 1000)
    reply = Reply(200, "9" * 5000, promised_bytes=10**12)
    async with serving(lambda _: reply) as server, connected(server.url) as client:
        with pytest.raises(ApiGarbled, match="more than 1000 bytes"):
            await client.http.request("GET", "/x")


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        (Reply(401, {"error": "Unauthorized"}), Unauthorized, "Unauthorized"),
        (Reply(405, "no"), RouteMissing, "Method Not Allowed"),
        (Reply(404, "Not Found"), RouteMissing, "Not Found"),
        (Reply(404, {"error": "Task not found"}), ApiRefused, "Task not found"),
        (Reply(400, {"error": "Validation error:\n a"}), ApiRefused, "Validation error: a"),
        (Reply(502, HTML, "text/html"), ApiRefused, "Bad Gateway"),
        (Reply(500, {"error": HTML}), ApiRefused, "Internal Server Error"),
        (Reply(599, "x"), ApiRefused, "no reason given"),
        (Reply(400, {"error": "x " * 2500}), ApiRefused, "x " * 150 + "…"),
    ],
)
async def test_refusals(reply: Reply, error: type[ApiError], message: str) -> None:
    async with serving(lambda _: reply) as server, connected(server.url) as client:
        with pytest.raises(ApiRefused) as caught:
            await client.http.request("GET", "/x")
    assert type(caught.value) is error
    assert caught.value.message == message
    assert caught.value.status == reply.status


async def test_errors_do_not_name_credentials() -> None:
    url = f"http://someone:s3cret@127.0.0.1:{free_port()}"
    async with connected(url, api_key="") as client:
        with pytest.raises(ApiUnreachable) as caught:
            await client.http.request("GET", "/x", params={"token": "t0ken"})
    assert "s3cret" not in str(caught.value)
    assert "t0ken" not in str(caught.value)


async def test_the_key_wins_over_credentials_in_the_url() -> None:
    port = free_port()
    url = f"http://someone:s3cret@127.0.0.1:{port}"
    async with serving(lambda _: Reply(), port=port) as server, connected(url) as client:
        await client.http.request("GET", "/x")
    assert server.requests[0].headers["authorization"] == "Bearer k3y"


async def test_loopback_is_not_asked_for_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    async with serving(lambda _: Reply()) as server, connected(server.url) as client:
        assert await client.http.request("GET", "/x") == {}


@pytest.mark.parametrize(
    "url",
    ["", "localhost:3013", "ftp://x", "http://", "http://[::1", "http://x:99999", "http://x?y"],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(BadSetting, match="MCP_BASE_URL"):
        Address.parse(url, has_key=True)


def test_identities_that_cannot_be_sent() -> None:
    health = ApiHealth(FakeClock())
    with pytest.raises(BadSetting, match="AGENT_ID"):
        Http("http://x", health=health, agent_id="a\r\nb")
    with pytest.raises(BadSetting) as caught:
        Http("http://x", health=health, api_key="s3crét")
    assert "s3cr" not in str(caught.value)


async def test_identifiers_stay_one_segment() -> None:
    assert segment("a/b?c d") == "a%2Fb%3Fc%20d"
    for climbing in ("", ".", ".."):
        with pytest.raises(BadSetting):
            segment(climbing)
    async with serving(lambda _: Reply()) as server, connected(server.url) as client:
        await client.tasks.progress("a/../b", "x")
    assert server.requests[0].target == "/api/tasks/a%2F..%2Fb/progress"


@pytest.mark.parametrize(
    ("reply", "is_down"),
    [
        (Reply(503, "x"), True),
        (Reply(502, HTML), True),
        (Reply(500, {"error": "x"}), False),
        (Reply(401, {"error": "Unauthorized"}), False),
        (Reply(429, {"error": "slow"}), False),
    ],
)
async def test_who_speaks_for_the_server(reply: Reply, is_down: bool) -> None:
    async with serving(lambda _: reply) as server, connected(server.url) as client:
        with capture_logs(), pytest.raises(ApiRefused):
            await client.http.request("GET", "/x")
        assert client.http.health.is_down == is_down


async def test_an_outage_is_two_lines_and_one_recovery() -> None:
    answers = iter(
        [Reply(), Reset(), Reply(503, HTML), Reply(200, HTML), Reply(404, {"error": "x"})]
    )
    recoveries = []
    with capture_logs() as lines:
        async with serving(lambda _: next(answers)) as server, connected(server.url) as client:
            health = client.http.health
            health.on_recovered(lambda: recoveries.append(1))
            states = []
            for _ in range(5):
                with contextlib.suppress(ApiError):
                    await client.http.request("GET", "/x")
                states.append(health.is_down)
    assert states == [False, True, True, True, False]
    assert [line["event"] for line in lines] == ["api.unreachable", "api.recovered"]
    assert recoveries == [1]


@pytest.mark.parametrize(
    ("seconds", "between", "is_down"),
    [
        ([0, 1, 2, 3, 4], None, True),
        ([0, 0, 0, 0, 0, 0, 0, 0], None, False),
        ([0, 2, 2, 4], None, False),
        ([0, 1, 2, 3, 4], 3, False),
    ],
    ids=["for a while", "at one time", "now and then", "others in between"],
)
async def test_an_api_that_only_fails_is_away(
    seconds: list[int], between: int | None, is_down: bool
) -> None:
    clock, reply = FakeClock(), Reply(500, {"error": "x"})
    async with (
        serving(lambda request: reply if request.call == "GET /x" else Reply()) as server,
        connected(server.url, clock=clock) as client,
    ):
        with capture_logs() as lines:
            for number, at_s in enumerate(seconds):
                await clock.sleep(at_s - clock.monotonic())
                with contextlib.suppress(ApiError):
                    await client.http.request("GET", "/x" if number != between else "/y")
            assert client.http.health.is_down is is_down
            await client.http.request("GET", "/y")
    told = ["api.unreachable", "api.recovered"] if is_down else []
    assert [line["event"] for line in lines] == told
