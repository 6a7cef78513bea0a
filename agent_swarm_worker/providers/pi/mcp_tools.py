"""Give the in-process agent the tools of the session's MCP servers.

A server that fails, is slow or sends malformed data costs its own tools or one call, never the
session. Each connection has a task of its own, see `mcp_connection`.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from agent_swarm_worker.errors import MissingExtra
from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, McpServer, Redactor
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.providers.pi.mcp_connection import Connection
    from agent_swarm_worker.providers.pi.mcp_transports import Transports
    from agent_swarm_worker.providers.pi.tools.base import Tool, ToolOutcome

CONNECT_S = 10.0
CALL_S = 120.0
CLOSE_S = 5.0
"""Time for closing all connections."""
MAX_NAME_CHARS = 64
_UNSUPPORTED = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class McpTool:
    """One tool of one server."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    tool_name: str = field(repr=False)
    """The server's name for it."""
    connection: Connection = field(repr=False)

    async def run(self, args: Mapping[str, Any]) -> ToolOutcome:
        """Call the tool."""
        return await self.connection.call(self.tool_name, args)


@asynccontextmanager
async def open_mcp_tools(
    servers: Sequence[McpServer],
    *,
    redactor: Redactor,
    log: Log,
    on_warning: Callable[[str], None],
    guest: Guest,
    cwd: PurePath,
    env: Mapping[str, str],
    connect_s: float = CONNECT_S,
    call_s: float = CALL_S,
) -> AsyncIterator[tuple[Tool, ...]]:
    """Connect to all servers at once and give the tools of those that answer in time.

    Args:
        servers: their configurations, with secrets resolved.
        redactor: scrubs their texts.
        log: gets servers and tools that cannot be used.
        on_warning: called with the same, for the session's journal.
        guest: runs stdio servers.
        cwd: their working directory.
        env: the environment of which stdio servers inherit a few variables.
        connect_s: time limit for a server to connect and to list its tools.
        call_s: time limit for a call.

    Raises:
        MissingExtra: there are servers, but the MCP library is not installed.
    """
    if not servers:
        yield ()
        return

    def warn(server: str, reason: str) -> None:
        reason = redactor.text(reason)
        log.warning(Event.MCP_CONFIG, server=server, why=reason)
        on_warning(redactor.text(f"tool server {server}: {reason}"))

    # In a thread: loading the MCP library takes most of a second.
    connection_type, transports_type = await anyio.to_thread.run_sync(_load_library)
    transports = transports_type(guest=guest, cwd=cwd, env=env, redactor=redactor)
    limits = {"connect_s": connect_s, "call_s": call_s}
    connections = [
        connection_type(server, transports, redactor=redactor, warn=warn, **limits)
        for server in servers
    ]
    failure: Exception | None = None
    async with anyio.create_task_group() as owners:
        for link in connections:
            owners.start_soon(link.run)
        async with anyio.create_task_group() as first_attempts:
            for link in connections:
                first_attempts.start_soon(link.connect)
        try:
            yield _tools(connections)
        except Exception as error:  # the caller's own, to be raised without a group
            failure = error
        with anyio.move_on_after(CLOSE_S):
            async with anyio.create_task_group() as closing:
                for link in connections:
                    closing.start_soon(link.close)
        owners.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _load_library() -> tuple[type[Connection], type[Transports]]:
    try:
        from agent_swarm_worker.providers.pi.mcp_connection import Connection  # noqa: PLC0415
        from agent_swarm_worker.providers.pi.mcp_transports import Transports  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("tools of MCP servers", "pi") from error
    return Connection, Transports


def _tools(connections: Sequence[Connection]) -> tuple[Tool, ...]:
    found = [(link, tool) for link in connections for tool in link.tools]
    names = exposed_names([(link.server.name, tool.name) for link, tool in found])
    return tuple(
        McpTool(name, tool.description, tool.parameters, tool.name, link)
        for name, (link, tool) in zip(names, found, strict=True)
    )


def exposed_names(tools: Sequence[tuple[str, str]]) -> list[str]:
    """Return a name for each pair of server and tool: ``mcp__<server>__<tool>``.

    A name that is too long, or that collides with another one after unsupported characters were
    replaced, ends in a hash of the original pair.
    """
    plain = [f"mcp__{_supported(server)}__{_supported(tool)}" for server, tool in tools]
    names: list[str] = []
    for pair, name in zip(tools, plain, strict=True):
        unique = name
        if len(name) > MAX_NAME_CHARS or plain.count(name) > 1 or name in names:
            digest = hashlib.sha256("\0".join(pair).encode("utf-8", "replace")).hexdigest()[:8]
            unique = f"{name[: MAX_NAME_CHARS - 9]}_{digest}"
        number = 1
        while unique in names:  # the server lists the same name twice
            number += 1
            unique = f"{unique[: MAX_NAME_CHARS - 4]}_{number}"
        names.append(unique)
    return names


def _supported(name: str) -> str:
    return _UNSUPPORTED.sub("_", name) or "_"
