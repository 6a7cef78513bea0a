"""``/mcp``: lets known agents in, and opens the MCP server when the first one comes.

Loading the MCP library takes longer than everything else this server does at its start, and many
uses never need it. It is loaded in a thread, so that heartbeats are answered meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from agent_swarm_worker.local_swarm.endpoint import Unfit, body_of, json_of, json_response
from agent_swarm_worker.local_swarm.tables import AGENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup, TaskStatus
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from agent_swarm_worker.local_swarm.store import Store


class McpDoor:
    """ASGI app of one path; what it opens lives in the task group it is given."""

    def __init__(self, store: Store, tasks: TaskGroup) -> None:
        self._store, self._tasks = store, tasks
        self._opening = anyio.Lock()
        self._server: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            # No stream of notifications and no session to delete: the protocol allows 405 here.
            refusal = json_response(405, {"error": "Method not allowed"})
            refusal.headers["allow"] = "POST"
            await refusal(scope, receive, send)
        elif why := self._why_not(Headers(scope=scope).get("x-agent-id", "")):
            await json_response(401, {"error": why})(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            content = await body_of(Request(scope, receive))
            json_of(content, fault=400)  # the library reads it again, and has no limit for depth
        except ClientDisconnect:
            return
        except Unfit as unfit:
            await json_response(unfit.status, unfit.body)(scope, receive, send)
            return
        server = self._server or await self._open()
        await server(scope, _again(content, receive), send)

    def _why_not(self, agent_id: str) -> str:
        if not agent_id:
            return "Missing X-Agent-ID header"
        return "" if self._store.get(AGENTS, agent_id) else "Agent not found"

    async def _open(self) -> ASGIApp:
        async with self._opening:
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


def _again(content: bytes, receive: Receive) -> Receive:
    """Return a `receive` that begins with a body that was read before."""
    messages = iter([{"type": "http.request", "body": content, "more_body": False}])

    async def first_the_body() -> Message:
        return next(messages, None) or await receive()

    return first_the_body


def _load() -> Callable[[Store], StreamableHTTPSessionManager]:
    from agent_swarm_worker.local_swarm.mcp_server import (  # noqa: PLC0415 - slow, see above
        session_manager,
    )

    return session_manager
