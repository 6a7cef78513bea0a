"""Ways to a tool server: Streamable HTTP, server-sent events, and a process of our own."""

from __future__ import annotations

import itertools
import ssl
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from agent_swarm_worker.providers.pi.mcp_stdio import stdio_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, McpServer, Redactor

Streams: TypeAlias = tuple[Any, Any]

REQUEST_S = 30.0
"""For connecting and sending; how long an answer may take is up to the caller."""
SILENCE_S = 24 * 3600.0
"""How long an event stream may be silent between calls."""
MAX_EVENT_BYTES = 8 * 1024 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Transports:
    """Opens the way to servers.

    Args:
        guest: where stdio servers run.
        cwd: in which directory.
        env: what they inherit a few harmless variables from.
        redactor: scrubs their standard error before it is quoted.
    """

    def __init__(
        self, *, guest: Guest, cwd: PurePath, env: Mapping[str, str], redactor: Redactor
    ) -> None:
        self._guest, self._cwd, self._env, self._redactor = guest, cwd, env, redactor
        self._names = (f"mcp-{number}" for number in itertools.count(1))

    def open(self, server: McpServer) -> AbstractAsyncContextManager[Streams]:
        """Open the streams to one server; entered and left by one task."""
        if server.transport == "stdio":
            return stdio_server(
                server,
                guest=self._guest,
                cwd=self._cwd,
                env=self._env,
                name=next(self._names),
                redactor=self._redactor,
            )
        if server.transport == "sse":
            return sse_client(
                server.url,
                headers=dict(server.headers),
                timeout=REQUEST_S,
                sse_read_timeout=SILENCE_S,
                httpx_client_factory=partial(_sse_client, server.url),
            )
        return _streamable(server)


@asynccontextmanager
async def _streamable(server: McpServer) -> AsyncIterator[Streams]:
    timeout = httpx2.Timeout(REQUEST_S, read=None)
    async with (
        _client(server.url, server.headers, timeout) as client,
        streamable_http_client(
            server.url, http_client=client, max_sse_event_size=MAX_EVENT_BYTES
        ) as streams,
    ):
        yield streams


def _sse_client(
    url: str,
    headers: dict[str, str] | None = None,
    timeout: httpx2.Timeout | None = None,
    auth: httpx2.Auth | None = None,
) -> httpx2.AsyncClient:
    assert auth is None
    return _client(url, headers or {}, timeout)


def _client(
    url: str, headers: Mapping[str, str], timeout: httpx2.Timeout | None
) -> httpx2.AsyncClient:
    address = urlsplit(url)
    is_loopback = address.hostname in _LOOPBACK
    return httpx2.AsyncClient(
        headers={**headers, "Accept-Encoding": "identity"},
        timeout=timeout,
        # A proxy named in the environment cannot reach this machine's own loopback.
        trust_env=not is_loopback,
        # Loading the system's certificates takes long; without encryption they serve nothing.
        verify=address.scheme == "https" or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        event_hooks={"response": [_bound]},
    )


async def _bound(response: httpx2.Response) -> None:
    """Let a body be read only so far: a server may send for ever."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        msg = "a packed answer, which was not asked for"
        raise httpx2.DecodingError(msg, request=response.request)
    if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                msg = f"an answer of more than {MAX_BODY_BYTES} bytes"
                raise httpx2.StreamError(msg)
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
