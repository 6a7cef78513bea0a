"""The tools of MCP servers, for the in-process agent.

Servers are strangers: one that is dead, slow, sloppy or hostile costs its own tools or the call
that was made, never the session. Each connection lives in a task of its own, see `mcp_connection`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from agent_swarm_worker.errors import MissingExtra
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.pi.mcp_connection import Offer, exposed_names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, McpServer, Redactor
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.providers.pi.mcp_connection import Connection
    from agent_swarm_worker.providers.pi.tool import Tool, ToolOutcome

CONNECT_S = 10.0
CALL_S = 120.0
CLOSE_S = 5.0
"""How long servers may take, all at once, to say goodbye."""


@dataclass(frozen=True, slots=True)
class McpTool:
    """One tool of one server."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    tool_name: str = field(repr=False)
    """What the server calls it."""
    connection: Connection = field(repr=False)

    async def run(self, args: Mapping[str, Any]) -> ToolOutcome:
        """Call it."""
        return await self.connection.call(self.tool_name, args)


class McpTools:
    """The tool servers of one session.

    Args:
        servers: with their secrets resolved.
        redactor: scrubs what they say.
        log: told of servers that cannot be used.
        on_warning: told the same in words, for the session's own log.
        connect_s: how long a server may take to connect and to list its tools.
        call_s: how long a call may take.
        guest: where stdio servers run.
        cwd: in which directory.
        env: what stdio servers inherit a few harmless variables from.
    """

    def __init__(
        self,
        servers: Sequence[McpServer],
        *,
        redactor: Redactor,
        log: Log,
        on_warning: Callable[[str], None],
        connect_s: float = CONNECT_S,
        call_s: float = CALL_S,
        guest: Guest,
        cwd: PurePath,
        env: Mapping[str, str],
    ) -> None:
        self._servers = tuple(servers)
        self._redactor = redactor
        self._log = log
        self._on_warning = on_warning
        self._connect_s, self._call_s = connect_s, call_s
        self._guest, self._cwd, self._env = guest, cwd, env

    def open(self) -> AbstractAsyncContextManager[tuple[Tool, ...]]:
        """Connect to all servers at once and give the tools of those that answer in time.

        Raises:
            MissingExtra: there are servers, but the MCP library is not installed.
        """
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[tuple[Tool, ...]]:
        if not self._servers:
            yield ()
            return
        # In a thread: loading the MCP library takes most of a second, and the worker has to go on.
        connections = await anyio.to_thread.run_sync(self._connections)
        failure: Exception | None = None
        async with anyio.create_task_group() as owners:
            for connection in connections:
                owners.start_soon(connection.live)
            async with anyio.create_task_group() as first_tries:
                for connection in connections:
                    first_tries.start_soon(connection.connect)
            try:
                yield tuple(self._tools(connections))
            except Exception as error:  # the session's own, which is not to come out as a group
                failure = error
            with anyio.move_on_after(CLOSE_S):
                async with anyio.create_task_group() as goodbyes:
                    for connection in connections:
                        goodbyes.start_soon(connection.close)
            owners.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _connections(self) -> list[Connection]:
        try:
            # A session without servers never loads it.
            from agent_swarm_worker.providers.pi.mcp_connection import (  # noqa: PLC0415
                Connection,
            )
            from agent_swarm_worker.providers.pi.mcp_transports import Transports  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtra("tools of MCP servers", "pi") from error
        transports = Transports(
            guest=self._guest, cwd=self._cwd, env=self._env, redactor=self._redactor
        )
        return [
            Connection(
                server,
                transports,
                redactor=self._redactor,
                connect_s=self._connect_s,
                call_s=self._call_s,
                warn=self._warn,
            )
            for server in self._servers
        ]

    def _tools(self, connections: Sequence[Connection]) -> list[Tool]:
        offers: list[tuple[Connection, Offer]] = [
            (connection, offer) for connection in connections for offer in connection.offers
        ]
        names = exposed_names([(link.server.name, offer.name) for link, offer in offers])
        return [
            McpTool(name, offer.description, offer.parameters, offer.name, connection)
            for name, (connection, offer) in zip(names, offers, strict=True)
        ]

    def _warn(self, server: str, why: str) -> None:
        why = self._redactor.text(why)
        self._log.warning(Event.MCP_CONFIG, server=server, why=why)
        self._on_warning(self._redactor.text(f"tool server {server}: {why}"))
