"""Serve ``/mcp`` to registered agents; start the MCP server on the first request.

Importing the MCP library takes longer than the rest of this server's start, and many uses never
need it. It is imported in a thread, so that heartbeats are answered meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from agent_swarm_worker.local_swarm.endpoint import Refusal, json_response, parse_json, read_body
from agent_swarm_worker.local_swarm.tables import AGENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup, TaskStatus
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from agent_swarm_worker.local_swarm.store import Store


class McpEndpoint:
    """ASGI app of one path; the MCP server runs in the task group given."""

    def __init__(self, store: Store, tasks: TaskGroup) -> None:
        self._store, self._tasks = store, tasks
        self._start_lock = anyio.Lock()
        self._server: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            # No notification stream and no session to delete: the protocol allows 405 for these.
            refusal = json_response(405, {"error": "Method not allowed"})
            refusal.headers["allow"] = "POST"
            await refusal(scope, receive, send)
        elif why := self._agent_error(Headers(scope=scope).get("x-agent-id", "")):
            await json_response(401, {"error": why})(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            content = await read_body(Request(scope, receive))
            parse_json(content, fault=400)  # the library parses it again, without a depth limit
        except ClientDisconnect:
            return
        except Refusal as refusal:
            await refusal.response(scope, receive, send)
            return
        server = self._server or await self._start()
        await server(scope, _replayed(content, receive), send)

    def _agent_error(self, agent_id: str) -> str:
        if not agent_id:
            return "Missing X-Agent-ID header"
        return "" if self._store.get(AGENTS, agent_id) else "Agent not found"

    async def _start(self) -> ASGIApp:
        async with self._start_lock:
            if self._server is None:
                build = await anyio.to_thread.run_sync(_load)
                self._server = await self._tasks.start(self._run, build(self._store))
            return self._server

    async def _run(
        self, manager: StreamableHTTPSessionManager, *, task_status: TaskStatus[ASGIApp]
    ) -> None:
        async with manager.run():
            task_status.started(manager.handle_request)
            await anyio.sleep_forever()


def _replayed(content: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first yields a body that was read before."""
    messages = iter([{"type": "http.request", "body": content, "more_body": False}])

    async def body_then_receive() -> Message:
        return next(messages, None) or await receive()

    return body_then_receive


def _load() -> Callable[[Store], StreamableHTTPSessionManager]:
    from agent_swarm_worker.local_swarm.mcp_server import (  # noqa: PLC0415 - slow, see above
        session_manager,
    )

    return session_manager
