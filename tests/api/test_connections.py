"""Connections: reuse, bounds, the proxy that the environment names, and encryption."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from anyio.streams.tls import TLSStream
from fake_api import Hang, Reply, Request, Server, connected, serving

from agent_swarm_worker.api import connections as connections_module
from agent_swarm_worker.api.connections import MAX_CONNECTIONS, MAX_UNREAD_BYTES
from agent_swarm_worker.errors import ApiUnreachable, BadSetting
from agent_swarm_worker.network import Address, proxy_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream, SocketStream

pytestmark = pytest.mark.anyio
CERTIFICATE = Path(__file__).with_name("swarm-test.pem")
"""For swarm.test and loopback, with its key; signed by itself."""


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


async def test_a_connection_is_used_again() -> None:
    async with serving(lambda _: Reply()) as server, connected(server.url) as client:
        for _ in range(3):
            await client.http.request("POST", "/x", body={"a": 1})
    assert len(server.requests) == 3
    assert server.connections == 1


async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async with (
        serving(lambda _: Reply(closes=True)) as server,
        connected(server.url) as client,
    ):
        for number in range(1, 4):
            await client.http.request("POST", "/x")
            while server.closed_connections < number:
                await anyio.sleep(0.001)
    assert server.connections == len(server.requests) == 3


async def test_nothing_is_written_to_a_connection_that_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(lambda _: Reply()) as server:
        stream = await connections_module._Network().connect_tcp("127.0.0.1", server.port)
        await stream.aclose()
        for _ in range(10):  # asyncio tells of the sixth write, and later versions fail
            await stream.write(b"GET / HTTP/1.1\r\n")
            assert await stream.read(1) == b""
    assert caplog.records == []


async def test_an_old_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "KEEP_ALIVE_S", 0.0)
    async with serving(lambda _: Reply()) as server, connected(server.url) as client:
        for _ in range(2):
            await client.http.request("POST", "/x")
            await anyio.sleep(0.01)
    assert server.connections == 2


async def test_more_requests_than_connections_wait() -> None:
    released = anyio.Event()

    class WhenReleased(Reply):
        async def send(self, stream: SocketStream) -> bool:
            await released.wait()
            return await super().send(stream)

    async with serving(lambda _: WhenReleased()) as server, connected(server.url) as client:
        group = anyio.create_task_group()
        async with group:
            for _ in range(MAX_CONNECTIONS + 8):
                group.start_soon(client.http.request, "GET", "/x")
            while len(server.requests) < MAX_CONNECTIONS:
                await anyio.sleep(0.01)
            await anyio.sleep(0.05)
            assert len(server.requests) == MAX_CONNECTIONS
            released.set()
    assert len(server.requests) == MAX_CONNECTIONS + 8
    assert server.connections == MAX_CONNECTIONS


async def test_requests_that_are_given_up_leave_their_places() -> None:
    def script(request: Request) -> Reply | Hang:
        return Hang() if request.path == "/hang" else Reply()

    async with serving(script) as server, connected(server.url) as client:

        async def give_up() -> None:
            with contextlib.suppress(ApiUnreachable):
                await client.http.request("GET", "/hang", timeout_s=0.3)

        async with anyio.create_task_group() as group:
            for _ in range(MAX_CONNECTIONS):
                group.start_soon(give_up)
        assert await client.http.request("GET", "/x") == {}
    # On a busy machine some are given up before the server has read them.
    assert server.calls[-1] == "GET /x"
    assert 1 < server.connections <= MAX_CONNECTIONS + 1


async def test_a_large_answer_arrives_whole() -> None:
    text = "x" * (8 * MAX_UNREAD_BYTES)
    async with (
        serving(lambda _: Reply(200, {"text": text})) as server,
        connected(server.url) as client,
        anyio.create_task_group() as group,
    ):

        async def ask() -> None:
            assert await client.http.request("GET", "/x") == {"text": text}

        for _ in range(3):
            group.start_soon(ask)


async def test_a_large_body_arrives_whole() -> None:
    body = {"text": "x" * 4_000_000}
    async with serving(lambda _: Reply()) as server, connected(server.url) as client:
        await client.http.request("POST", "/x", body=body)
    assert server.requests[0].body == body


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_a_proxy_gets_the_whole_url(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(lambda _: Reply()) as proxy:
        monkeypatch.setenv(variable, f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        async with connected("http://swarm.test:3013/base") as client:
            for _ in range(2):
                await client.http.request("GET", "/x", params={"a": "1 2"})
    assert [request.target for request in proxy.requests] == [
        "http://swarm.test:3013/base/x?a=1+2"
    ] * 2
    assert proxy.requests[0].headers["host"] == "swarm.test:3013"
    assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
    assert proxy.requests[0].headers["authorization"] == "Bearer k3y"
    assert proxy.connections == 1


NO_PROXIES = [
    *(
        "*",
        "swarm.test",
        "SWARM.test",
        ".swarm.test",
        "*.swarm.test",
        "test",
        "other.test, swarm.test",
    ),
    *("api.swarm.test", "arm.test", "http://swarm.test", "https://swarm.test", "all://test"),
    *(
        "10.0.0.0/8",
        "10.1.2.3",
        "10.1.2.4",
        "10.1.2.0/24",
        "11.0.0.0/8",
        "::1",
        "[::1]",
        "fd00::/8",
    ),
    *(
        "localhost",
        "",
        ",",
        "swarm.test:3013",
        "swarm.test:3014",
        "/",
        "10.0.0.0/99",
        "a b",
        "[",
        ":",
    ),
]


@pytest.mark.parametrize("no_proxy", NO_PROXIES)
def test_exempt_hosts_are_those_of_httpx(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.test:8080")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    client = httpx2.AsyncClient()
    for host in ("swarm.test", "api.swarm.test", "10.1.2.3", "[fd00::2]", "[::2]"):
        url = f"http://{host}:3013"
        expected = client._transport_for_url(httpx2.URL(url)) is not client._transport
        address = Address.parse(url, has_key=True)
        assert (proxy_for(address) is not None) == expected, url


@pytest.mark.parametrize(
    "value", ["ftp://proxy.test", "http://", "http://[::1", "http://x:99999", "http://a b"]
)
def test_proxies_that_cannot_be_used(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", value)
    with pytest.raises(BadSetting, match="HTTP_PROXY"):
        proxy_for(Address.parse("http://swarm.test", has_key=True))


@contextlib.asynccontextmanager
async def encrypted(server: Server) -> AsyncIterator[int]:
    """Serve over TLS as well; yields the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream, ssl.SSLError):
                await server.serve(
                    await TLSStream.wrap(
                        stream, ssl_context=context, server_side=True, standard_compatible=False
                    )
                )

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        group.cancel_scope.cancel()


async def test_an_encrypted_api_is_trusted_by_its_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = Reply(200, {"a": "x" * 3_000_000})
    async with serving(lambda _: large) as server, encrypted(server) as port:
        url = f"https://127.0.0.1:{port}"
        async with connected(url) as client:
            with pytest.raises(ApiUnreachable, match="CERTIFICATE_VERIFY_FAILED") as caught:
                await client.http.request("GET", "/x")
        assert not caught.value.ambiguous
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        async with connected(url) as client:
            for _ in range(2):
                answer = await client.http.request("POST", "/x", body={"b": "y" * 3_000_000})
                assert len(answer["a"]) == 3_000_000
    assert [len(request.body["b"]) for request in server.requests] == [3_000_000] * 2
    assert server.connections == 1


async def test_a_proxy_tunnels_to_an_encrypted_api(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def copy(source: ByteStream, sink: ByteStream) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await sink.send(await source.receive())

    async with serving(lambda _: Reply()) as server, encrypted(server) as port:

        async def tunnel(stream: SocketStream) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive()
            heads.append(head)
            async with stream, await anyio.connect_tcp("127.0.0.1", port) as target:
                await stream.send(b"HTTP/1.1 200 Connected\r\n\r\n")
                async with anyio.create_task_group() as group:
                    group.start_soon(copy, stream, target)
                    await copy(target, stream)
                    group.cancel_scope.cancel()

        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, tunnel)
            proxy_port = listener.extra(anyio.abc.SocketAttribute.local_port)
            monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy_port}")
            monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
            async with connected("https://swarm.test") as client:
                for _ in range(2):
                    await client.http.request("GET", "/x")
            group.cancel_scope.cancel()
    assert [head.partition(b"\r\n")[0] for head in heads] == [b"CONNECT swarm.test:443 HTTP/1.1"]
    assert server.requests[0].headers["host"] == "swarm.test"
    assert server.calls == ["GET /x"] * 2


async def test_a_proxy_that_refuses_to_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(lambda _: Reply(407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with connected("https://swarm.test") as client:
            with pytest.raises(ApiUnreachable, match="407"):
                await client.http.request("GET", "/x")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://Swarm.Test/", ("swarm.test", 80, "swarm.test", "")),
        ("https://swarm.test:443/a b/ü/", ("swarm.test", 443, "swarm.test", "/a%20b/%C3%BC")),
        ("http://swärm.test:81/a%20b", ("xn--swrm-moa.test", 81, "xn--swrm-moa.test:81", "/a%20b")),
        ("http://[::1]:3013", ("::1", 3013, "[::1]:3013", "")),
    ],
)
def test_addresses_are_those_of_httpx(url: str, expected: tuple[str, int, str, str]) -> None:
    address = Address.parse(url, has_key=True)
    assert (address.host, address.port, address.host_header, address.path) == expected
    theirs = httpx2.URL(url.rstrip("/"))
    assert address.host == theirs.raw_host.decode().strip("[]")
    assert address.host_header == theirs.netloc.decode()
    assert address.path == theirs.raw_path.decode().rstrip("/")
    assert bytes(address.below("/x")).decode().endswith(address.path + "/x")
