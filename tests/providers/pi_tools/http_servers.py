"""MCP servers over raw sockets, which can misbehave on every level."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream


@dataclass
class Request:
    """One request, and the socket to answer it on."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    socket: SocketStream

    @property
    def call(self) -> dict[str, Any]:
        return dict(json.loads(self.body)) if self.body else {}

    async def reply(
        self,
        body: bytes | dict[str, Any] = b"",
        *,
        status: int = 200,
        content_type: str = "application/json",
        **headers: str,
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {"content-type": content_type, "content-length": str(len(data)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        await self.socket.send(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data)

    async def result(self, result: dict[str, Any], **headers: str) -> None:
        await self.reply({"jsonrpc": "2.0", "id": self.call["id"], "result": result}, **headers)


Handler: TypeAlias = Callable[[Request], Awaitable[None]]
INITIALIZED = {
    "protocolVersion": "2025-03-26",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "s", "version": "1"},
}
TOOLS = {"tools": [{"name": "echo", "description": "says it", "inputSchema": {"type": "object"}}]}


def said(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


@dataclass
class Server:
    """Answers with `handler`, or as a good server does where that is none."""

    handler: Handler
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    sockets: list[SocketStream] = field(default_factory=list)

    async def serve(self, socket: SocketStream) -> None:
        self.sockets.append(socket)
        reader = BufferedByteReceiveStream(socket)
        try:
            async with socket:
                while True:
                    head = (await reader.receive_until(b"\r\n\r\n", 65536)).decode()
                    first, *lines = head.split("\r\n")
                    headers = {
                        name.lower(): value.strip()
                        for name, _, value in (line.partition(":") for line in lines)
                    }
                    size = int(headers.get("content-length", 0))
                    body = await reader.receive_exactly(size) if size else b""
                    request = Request(*first.split(" ")[:2], headers, body, socket)
                    self.requests.append(request)
                    await self.handler(request)
        except (
            anyio.EndOfStream,
            anyio.IncompleteRead,
            anyio.ClosedResourceError,
            anyio.BrokenResourceError,
        ):
            return


async def good(request: Request) -> None:
    """Answer as an obliging server without sessions does."""
    match request.call.get("method"):
        case "initialize":
            await request.result(INITIALIZED)
        case "tools/list":
            await request.result(TOOLS)
        case "tools/call":
            await request.result(said(json.dumps(request.call["params"]["arguments"])))
        case None:
            await request.reply(status=405)
        case _:
            await request.reply(status=202)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    server = Server(handler)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    server.url = f"http://127.0.0.1:{port}/mcp"
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()
