"""A real HTTP server on loopback that can misbehave, and a clock that waits for nobody."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import anyio.lowlevel
import orjson

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream


class FakeClock:
    """Time that passes only by sleeping, and then at once."""

    def __init__(self) -> None:
        self.elapsed = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.elapsed

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed += seconds
        await anyio.lowlevel.checkpoint()


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: Any

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    @property
    def call(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Reply:
    """An ordinary answer; `body` may be JSON, text or bytes."""

    status: int = 200
    body: Any = field(default_factory=dict)
    content_type: str = ""
    headers: tuple[str, ...] = ()
    promised_bytes: int | None = None
    """Content-Length, if it is a lie."""
    drip_s: float | None = None
    """Pause after each byte of the body."""
    closes: bool = False
    """The connection is closed after the answer, without saying so."""

    async def send(self, stream: SocketStream) -> bool:
        if isinstance(self.body, bytes):
            data, content_type = self.body, self.content_type
        elif isinstance(self.body, str):
            data, content_type = self.body.encode(), self.content_type or "text/plain"
        else:
            data, content_type = orjson.dumps(self.body), "application/json"
        if self.status == 204:
            data = b""
        length = len(data) if self.promised_bytes is None else self.promised_bytes
        head = [f"HTTP/1.1 {self.status} Whatever", f"Content-Length: {length}"]
        head += [f"Content-Type: {content_type}"] if content_type else []
        await stream.send("\r\n".join([*head, *self.headers, "", ""]).encode())
        if self.drip_s is None:
            await stream.send(data) if data else None
        else:
            for byte in data:
                await stream.send(bytes([byte]))
                await anyio.sleep(self.drip_s)
        return self.promised_bytes is None and not self.closes


class Hang:
    """Never an answer."""

    async def send(self, stream: SocketStream) -> bool:
        await anyio.sleep_forever()
        return False


class Reset:
    """The request is read, then the connection is gone."""

    async def send(self, stream: SocketStream) -> bool:
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        stream.extra(anyio.abc.SocketAttribute.raw_socket).setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        return False


Answer = Reply | Hang | Reset
Script = Callable[[Request], Answer]


class Server:
    """Records what it is asked; `script` decides what it answers."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.connections = self.closed_connections = 0
        self.port = 0
        self.down: anyio.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls(self) -> list[str]:
        return [request.call for request in self.requests]

    def bodies(self, call: str) -> list[Any]:
        return [request.body for request in self.requests if request.call == call]

    async def serve(self, stream: SocketStream) -> None:
        self.connections += 1
        try:
            await self._serve(stream)
        finally:
            self.closed_connections += 1

    async def _serve(self, stream: SocketStream) -> None:
        data = b""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                while True:
                    while b"\r\n\r\n" not in data:
                        data += await stream.receive()
                    head, _, data = data.partition(b"\r\n\r\n")
                    first, *lines = head.decode("latin-1").split("\r\n")
                    method, target, _ = first.split(" ")
                    headers = {
                        name.strip().lower(): value.strip()
                        for name, _, value in (line.partition(":") for line in lines)
                    }
                    length = int(headers.get("content-length", 0))
                    while len(data) < length:
                        data += await stream.receive()
                    body, data = data[:length], data[length:]
                    request = Request(method, target, headers, orjson.loads(body or b"null"))
                    self.requests.append(request)
                    if not await self.script(request).send(stream):
                        return


@contextlib.asynccontextmanager
async def serving(script: Script, *, port: int = 0) -> AsyncIterator[Server]:
    """Run a server on loopback."""
    server = Server(script)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    server.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        try:
            yield server
        finally:
            group.cancel_scope.cancel()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def connected(
    url: str, *, clock: FakeClock | None = None, timeout_s: float = 5.0, **options: Any
) -> AsyncIterator[SwarmClient]:
    """A client of this URL."""
    the_clock = clock or FakeClock()
    options = {"api_key": "k3y", "agent_id": "agent-1", "runtime_instance_id": "run-1"} | options
    http = Http(url, health=ApiHealth(the_clock), timeout_s=timeout_s, **options)
    async with http:
        yield SwarmClient(http, ServerCapabilities(the_clock))
