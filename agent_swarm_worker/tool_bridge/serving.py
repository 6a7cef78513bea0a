"""Serve the operator's tools to one session: `served_tools`.

The server listens on loopback, for as long as the session; a token that the session alone has keeps
other processes of the machine out.
"""

from __future__ import annotations

import secrets
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.to_thread
from anyio import TASK_STATUS_IGNORED

from agent_swarm_worker.contract import McpServer
from agent_swarm_worker.errors import MissingExtra, ProviderError
from agent_swarm_worker.tool_bridge.calls import ToolCalls
from agent_swarm_worker.tool_bridge.definitions import FILE_VARIABLE, require_extra

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from anyio.abc import TaskStatus
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from starlette.types import ASGIApp

    from agent_swarm_worker.http_server import HttpServer
    from agent_swarm_worker.tool_bridge.calls import ToolContext
    from agent_swarm_worker.tool_bridge.definitions import ToolDefinition

SERVER = "swarm-tools"
"""Name of the MCP server; the names of its tools begin with ``mcp__swarm-tools__``."""
TOKEN = "SWARM_TOOLS_TOKEN"  # noqa: S105 - the name of its placeholder
BACKLOG = 64


@asynccontextmanager
async def served_tools(
    tools: Sequence[ToolDefinition], context: ToolContext
) -> AsyncIterator[McpServer]:
    """Serve tools until the block ends; yield the server for the session.

    Raises:
        MissingExtra: a library is not installed.
        ProviderError: nothing can listen on loopback.
    """
    require_extra()
    token = secrets.token_urlsafe(32)
    context.redactor.add(TOKEN, token)
    try:
        libraries = await anyio.to_thread.run_sync(_load)
    except ImportError as error:
        raise MissingExtra(FILE_VARIABLE, "tools") from error
    by_name = {tool.name: tool for tool in tools}
    manager, app = libraries.build_app(SERVER, by_name, ToolCalls(context), token)
    server = libraries.HttpServer(app)
    failure: Exception | None = None
    with _listener() as listener:
        async with anyio.create_task_group() as tasks:
            await tasks.start(_run, manager)
            tasks.start_soon(server.serve, [listener])
            try:
                yield McpServer(
                    name=SERVER,
                    transport="http",
                    url=f"http://127.0.0.1:{listener.getsockname()[1]}/mcp",
                    headers={"Authorization": f"Bearer {token}"},
                )
            except Exception as error:
                failure = error
            finally:
                server.stop()
                await server.stopped()
                tasks.cancel_scope.cancel()
    if failure is not None:
        # Outside the task group, which would wrap the session's error in a group.
        raise failure


async def _run(
    manager: StreamableHTTPSessionManager, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
) -> None:
    async with manager.run():
        task_status.started()
        await anyio.sleep_forever()


class _Libraries(NamedTuple):
    """What is imported for the first session with tools: an idle worker does without."""

    build_app: Callable[..., tuple[StreamableHTTPSessionManager, ASGIApp]]
    HttpServer: type[HttpServer]


def _load() -> _Libraries:
    from agent_swarm_worker.http_server import HttpServer  # noqa: PLC0415 - slow
    from agent_swarm_worker.tool_bridge.mcp_app import build_app  # noqa: PLC0415

    return _Libraries(build_app, HttpServer)


def _listener() -> socket.socket:
    # The protocol is explicit, or asyncio would leave Nagle's algorithm on.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ProviderError(f"the operator's tools cannot be served: {error}") from error
    return listener
