"""Open the streams to an MCP server, and speak MCP over them, with results as they came.

The streams are Streamable HTTP, server-sent events, or a child process. The library's own session
refuses a whole result for one odd member; its dispatcher does not look at results.

A stdio server runs in the guest, which ends processes that left the process group, too; the
library's own client does not.
"""

from __future__ import annotations

import itertools
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage
from mcp_types import METHOD_NOT_FOUND
from mcp_types.version import LATEST_HANDSHAKE_VERSION

from agent_swarm_worker.contract import NO_GRACE, Command, Grace
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.network import http_client
from agent_swarm_worker.processes.pipes import LineFramer, pump
from agent_swarm_worker.providers.kit.native import text
from agent_swarm_worker.providers.pi.mcp_answers import AnswerReader, messages_in
from agent_swarm_worker.providers.pi.mcp_http import MAX_EVENT_BYTES, AnswerHooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import PurePath

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.shared.dispatcher import CallOptions
    from mcp_types import JSONRPCMessage

    from agent_swarm_worker.contract import Guest, McpServer, Process, Redactor

Streams: TypeAlias = tuple[Any, Any]

REQUEST_S = 30.0
"""Time limit for connecting and sending; the caller limits the time for an answer."""
SILENCE_S = 24 * 3600.0
"""How long an event stream may send nothing between calls."""
INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
"""Variables a server needs to run; secrets come from its own configuration only."""
MAX_LINE_BYTES = 16 * 1024 * 1024
DOUBT_S = 10.0
"""After a text that is no message and nothing more, it counts as the answer to the call."""
EXIT_S = 1.0
"""Time for a server to exit after the end of its input."""
_STDERR_TAIL_BYTES = 2048
GRACE = Grace(interrupt_s=0, terminate_s=1.0)


class Transports:
    """Opens streams to servers; stdio servers run in `guest`, with some variables of `env`."""

    def __init__(
        self, *, guest: Guest, cwd: PurePath, env: Mapping[str, str], redactor: Redactor
    ) -> None:
        self._guest, self._cwd, self._env, self._redactor = guest, cwd, env, redactor
        self._names = (f"mcp-{number}" for number in itertools.count(1))

    def open(self, server: McpServer) -> AbstractAsyncContextManager[Streams]:
        """Open the streams to one server; the same task must enter and leave it."""
        if server.transport == "stdio":
            return self._stdio(server)
        if server.transport == "sse":
            return sse_client(
                server.url,
                headers=dict(server.headers),
                timeout=REQUEST_S,
                sse_read_timeout=SILENCE_S,
                httpx_client_factory=partial(_client, server.url),
            )
        return _streamable(server)

    @asynccontextmanager
    async def _stdio(self, server: McpServer) -> AsyncIterator[Streams]:
        """Run a server; raise `ProviderError` if it cannot be started or ends by itself."""
        inherited = {key: value for key, value in self._env.items() if key in INHERITED}
        command = Command(
            argv=(server.command, *server.args),
            cwd=self._cwd,
            env={**inherited, **server.env},
            name=next(self._names),
            stdin=True,
        )
        async with await self._guest.start(command) as child:
            to_us, from_server = anyio.create_memory_object_stream[Any](0)
            to_server, from_us = anyio.create_memory_object_stream[SessionMessage](0)
            try:
                with to_us, from_server, to_server, from_us:
                    async with anyio.create_task_group() as tasks:
                        stderr = bytearray()
                        tasks.start_soon(pump, child.stderr, _tail(stderr))
                        reader = AnswerReader()
                        tasks.start_soon(_write, child, from_us, reader)
                        tasks.start_soon(_read, child, to_us, reader, stderr, self._redactor)
                        yield from_server, to_server
                        tasks.cancel_scope.cancel()
                await child.close_stdin()
                with anyio.move_on_after(EXIT_S):
                    await child.wait()
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._guest.end(child, NO_GRACE)
                raise
            with anyio.CancelScope(shield=True):
                await self._guest.end(child, GRACE)


@asynccontextmanager
async def _streamable(server: McpServer) -> AsyncIterator[Streams]:
    timeout = httpx2.Timeout(REQUEST_S, read=None)
    async with (
        _client(server.url, server.headers, timeout, answers_in_post=True) as client,
        streamable_http_client(
            server.url, http_client=client, max_sse_event_size=MAX_EVENT_BYTES
        ) as streams,
    ):
        yield streams


def _client(
    url: str,
    headers: Mapping[str, str] | None = None,
    timeout: httpx2.Timeout | None = None,
    auth: httpx2.Auth | None = None,
    *,
    answers_in_post: bool = False,
) -> httpx2.AsyncClient:
    hooks = AnswerHooks(answers_in_post=answers_in_post)
    return http_client(
        url,
        headers={**(headers or {}), "Accept-Encoding": "identity"},
        timeout=timeout,
        auth=auth,
        event_hooks={"request": [hooks.requested], "response": [hooks.responded]},
    )


async def _read(
    child: Process,
    to_us: MemoryObjectSendStream[Any],
    reader: AnswerReader,
    stderr: bytearray,
    redactor: Redactor,
) -> None:
    framer = LineFramer(MAX_LINE_BYTES)
    is_open = True
    while is_open:
        lines: list[bytes] = []
        is_doubtful = reader.is_doubtful or (reader.has_calls and framer.pending_bytes)
        with anyio.move_on_after(DOUBT_S if is_doubtful else None) as silence:
            try:
                lines = framer.feed(await child.stdout.receive())
            except anyio.EndOfStream:
                is_open = False
        found: list[JSONRPCMessage] = []
        if silence.cancelled_caught or not is_open:
            rest = framer.close() or b""
            if is_open and not messages_in(rest):
                framer.feed(rest)
                found = reader.give_up(rest)
            else:  # a message that lacks nothing but its end
                lines = [rest]
        for line in filter(bytes.strip, lines):
            found += reader.read(line)
        for message in found:
            await to_us.send(SessionMessage(message))
    with anyio.move_on_after(EXIT_S):
        await child.wait()
    # Its last line often gives the reason; it may not have arrived yet.
    await anyio.sleep(0.05)
    text = redactor.data(bytes(stderr[-_STDERR_TAIL_BYTES:])).decode("utf-8", "replace")
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    code = child.returncode
    how = "it closed its output" if code is None else f"it ended with exit code {code}"
    raise ProviderError(f"{how}: {last}" if last else how)


async def _write(
    child: Process, from_us: MemoryObjectReceiveStream[SessionMessage], reader: AnswerReader
) -> None:
    async for message in from_us:
        reader.sent(message.message)
        line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
        if not await child.send(line.encode("utf-8", "replace") + b"\n"):
            return


def _tail(buffer: bytearray) -> Callable[[bytes], None]:
    def add(chunk: bytes) -> None:
        buffer.extend(chunk)
        del buffer[: -2 * _STDERR_TAIL_BYTES]

    return add


_VERSION = re.compile(r"[A-Za-z0-9._-]{1,40}")
_CLIENT = {"name": "agent-swarm-worker", "version": "1"}


@dataclass(slots=True)
class McpPeer:
    """A server that has answered the handshake."""

    _dispatcher: JSONRPCDispatcher
    _options: CallOptions

    @classmethod
    @asynccontextmanager
    async def open(cls, received: Any, sent: Any) -> AsyncIterator[McpPeer]:
        """Perform the MCP handshake; read messages until the context ends. Raises `MCPError`."""
        dispatcher = JSONRPCDispatcher(received, sent)
        async with anyio.create_task_group() as tasks:
            await tasks.start(dispatcher.run, _answer, _ignore)
            params = {
                "protocolVersion": LATEST_HANDSHAKE_VERSION,
                "capabilities": {},
                "clientInfo": _CLIENT,
            }
            result = await dispatcher.send_raw_request(
                "initialize", params, {"cancel_on_abandon": False}
            )
            version = text(result.get("protocolVersion"))
            if not _VERSION.fullmatch(version):  # the header is sent to it with every request
                version = LATEST_HANDSHAKE_VERSION
            options: CallOptions = {"headers": {MCP_PROTOCOL_VERSION_HEADER: version}}
            await dispatcher.notify("notifications/initialized", None, options)
            yield cls(dispatcher, options)
            tasks.cancel_scope.cancel()

    async def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of a request as it came; raise `MCPError` if there is none."""
        return await self._dispatcher.send_raw_request(method, params, self._options)


async def _answer(_: Any, method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Answer a request of the server: we have nothing to offer it."""
    del params
    if method == "ping":
        return {}
    raise MCPError(code=METHOD_NOT_FOUND, message=f"{method} is not supported")


async def _ignore(*_: Any) -> None:
    """Take a notification."""
