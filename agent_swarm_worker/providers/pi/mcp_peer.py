"""Speak MCP with one server over its streams, with results as they came.

The library's own session refuses a whole result for one odd member; its dispatcher does not look at
results.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types import METHOD_NOT_FOUND
from mcp_types.version import LATEST_HANDSHAKE_VERSION

from agent_swarm_worker.providers.kit.native import text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from mcp.shared.dispatcher import CallOptions

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
        """Greet the server, and read its messages until the context ends; raises `MCPError`."""
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
