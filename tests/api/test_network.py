"""Every HTTP client: proxies, certificates, redirects, and ``Retry-After``."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from fake_api import FakeClock, Reply, Request, connected, serving
from run_here import run_here
from test_connections import CERTIFICATE, encrypted

from agent_swarm_worker.errors import ApiGarbled, ApiRefused, MissingExtra
from agent_swarm_worker.network import http_client, ssl_context
from agent_swarm_worker.outbox.retries import attempts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"):
        monkeypatch.delenv(name, raising=False)


@contextlib.asynccontextmanager
async def socks(port: int, asked: list[bytes]) -> AsyncIterator[int]:
    """A SOCKS5 proxy without login, which connects everything to one port."""

    async def copy(source: Any, sink: Any) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await sink.send(await source.receive())

    async def serve(stream: SocketStream) -> None:
        async with stream, await anyio.connect_tcp("127.0.0.1", port) as target:
            await stream.receive()
            await stream.send(b"\x05\x00")
            asked.append(await stream.receive())
            await stream.send(b"\x05\x00\x00\x01" + bytes(6))
            async with anyio.create_task_group() as group:
                group.start_soon(copy, stream, target)
                await copy(target, stream)
                group.cancel_scope.cancel()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
async def test_a_socks_proxy(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    async with serving(lambda _: Reply()) as server, socks(server.port, asked) as port:
        monkeypatch.setenv(variable, f"socks5h://127.0.0.1:{port}")
        async with connected("http://swarm.test:3013") as client:
            await client.http.request("GET", "/x")
        async with http_client("http://model.test/v1", timeout=30) as other:
            assert (await other.get("http://model.test/v1/y")).status_code == 200
    assert server.calls == ["GET /x", "GET /v1/y"]
    assert [b"swarm.test" in head or b"model.test" in head for head in asked] == [True, True]


async def test_a_socks_proxy_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.test")
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(MissingExtra, match="ALL_PROXY needs the extra 'socks'") as caught:
        http_client("http://model.test", timeout=30)
    assert "agent-swarm-worker[socks]" in caught.value.advice


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "ftp://proxy.test"),
        ("ALL_PROXY", "http://[::1"),
        ("SSL_CERT_FILE", "/nonexistent/ca.pem"),
        ("SSL_CERT_FILE", "empty"),
        ("SSL_CERT_DIR", "/nonexistent"),
        ("NODE_EXTRA_CA_CERTS", "empty"),
    ],
)
def test_a_bad_value_is_one_line_and_78(
    tmp_path: Path,
    name: str,
    value: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if value == "empty":
        (tmp_path / "empty").touch()
        value = str(tmp_path / "empty")
    env = {"MCP_BASE_URL": "https://swarm.test", "HOME": str(tmp_path), name: value}
    code, (line,) = run_here("run", env=env, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 78
    assert f"{name}=" in line


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_an_authority_counts_for_this_machine_too(
    variable: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with serving(lambda _: Reply()) as server, encrypted(server) as port:
        url = f"https://{host}:{port}"
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            async with http_client(url, timeout=30) as client:
                await client.get(url)
        monkeypatch.setenv(variable, str(CERTIFICATE))
        async with http_client(url, timeout=30) as client, connected(url) as api:
            assert (await client.get(url)).status_code == 200
            await api.http.request("GET", "/x")


async def test_a_key_does_not_follow_a_redirect_to_another_host() -> None:
    async with serving(lambda _: Reply()) as other:

        def script(request: Request) -> Reply:
            to = "/there" if request.path == "/here" else f"http://localhost:{other.port}/x"
            return (
                Reply()
                if request.path == "/there"
                else Reply(307, "", headers=(f"Location: {to}",))
            )

        async with serving(script) as server:
            headers = {"x-api-key": "secret"}
            options = {"follow_redirects": True, "headers": headers, "timeout": 30}
            async with http_client(server.url, **options) as client:
                assert (await client.post(f"{server.url}/here")).status_code == 200
                with pytest.raises(
                    httpx2.RemoteProtocolError, match="redirects to http://localhost"
                ):
                    await client.post(f"{server.url}/elsewhere")
    assert other.requests == []


async def test_a_redirect_to_https_is_refused_with_the_address_to_use() -> None:
    moved = Reply(308, "", headers=("Location: https://127.0.0.1/x",))
    why = "redirects to https://127.0.0.1, which is not followed; use that address"
    async with (
        serving(lambda _: moved) as server,
        http_client(server.url, follow_redirects=True, timeout=30) as client,
    ):
        with pytest.raises(httpx2.RemoteProtocolError, match=why):
            await client.post(f"{server.url}/here")


async def test_certificates_are_loaded_again_only_if_they_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = ssl_context()
    assert ssl_context() is first
    file = tmp_path / "ca.pem"
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(file))
    file.write_bytes(CERTIFICATE.read_bytes())
    second = ssl_context()
    assert second is not first
    os.utime(file, (1, 1))
    assert ssl_context() is not second


async def test_a_redirect_of_the_api_names_where_to() -> None:
    moved = Reply(308, "", headers=("Location: https://me:s3cret@swarm.test/x?key=s3cret",))
    async with serving(lambda _: moved) as server, connected(server.url) as client:
        with pytest.raises(ApiGarbled, match=r"redirect \(308\) to https://swarm.test$"):
            await client.http.request("GET", "/x")


START = datetime(2026, 1, 1, 0, 16, 40, tzinfo=UTC)
"""By `FakeClock`."""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (format_datetime(START.replace(second=50), usegmt=True), 10.0),
        ("86400", 300.0),
        *((value, 0.0) for value in ("-1", "soon", "nan", "inf", "")),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_holds_the_same_call_back(
    status: int, value: str, seconds: float
) -> None:
    busy = Reply(status, {"error": "slow down"}, headers=(f"Retry-After: {value}",))
    script = lambda request: busy if request.path == "/x" else Reply()  # noqa: E731
    clock = FakeClock()
    async with serving(script) as server, connected(server.url, clock=clock) as client:
        for _ in range(2):
            with pytest.raises(ApiRefused) as caught:
                await client.http.request("GET", "/x")
            assert (caught.value.status, caught.value.retry_after_s) == (status, seconds)
        await client.http.request("GET", "/y")
        assert server.calls.count("GET /x") == (1 if seconds else 2)
        await clock.sleep(seconds)
        with pytest.raises(ApiRefused):
            await client.http.request("GET", "/x")
        assert server.calls.count("GET /x") == (2 if seconds else 3)


async def test_a_write_waits_as_long_as_asked() -> None:
    clock, refusal = FakeClock(), ApiRefused("u", 429, "slow down")
    refusal.retry_after_s = 120.0
    async for attempt in attempts(clock.sleep):
        with attempt:
            if attempt.retry_state.attempt_number == 1:
                raise refusal
    assert clock.slept == [120.0]
