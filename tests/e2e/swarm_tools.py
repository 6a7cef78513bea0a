"""A tool server with one of the swarm's tools, which records its callers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from mcp.server import MCPServer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class SwarmTools:
    """An ASGI application; the tool server is at ``/mcp``."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.headers: list[dict[str, str]] = []
        """Of every request, in order."""
        self.delay_s = 0.0
        """How long the first request is kept waiting."""
        server = MCPServer("agent-swarm", log_level="ERROR")
        server.add_tool(self._store_progress, name="store-progress")
        self._app: ASGIApp = server.streamable_http_app()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.headers.append({name.decode(): text.decode() for name, text in scope["headers"]})
            delay_s, self.delay_s = self.delay_s, 0.0
            await anyio.sleep(delay_s)
        await self._app(scope, receive, send)

    def _store_progress(self, progress: str) -> str:
        """Store a task's progress."""
        self.calls.append(progress)
        return "stored"
