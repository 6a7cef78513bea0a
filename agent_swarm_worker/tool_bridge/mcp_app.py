"""Answer MCP requests (Streamable HTTP) with the operator's tools.

Importing this is slow, and only a worker with tools does; see `serving`.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from agent_swarm_worker import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server.context import ServerRequestContext
    from starlette.types import ASGIApp, Receive, Scope, Send

    from agent_swarm_worker.tool_bridge.calls import ToolCalls
    from agent_swarm_worker.tool_bridge.definitions import ToolDefinition

MAX_REQUEST_BYTES = 4 << 20


def build_app(
    name: str, tools: Mapping[str, ToolDefinition], calls: ToolCalls, token: str
) -> tuple[StreamableHTTPSessionManager, ASGIApp]:
    """Return the app, and the handler of its requests, whose ``run()`` must be entered first.

    Args:
        name: of the server.
        tools: by name.
        calls: runs them.
        token: that requests must bring.
    """

    async def list_tools(_: ServerRequestContext[Any, Any], __: object) -> types.ListToolsResult:
        listed = [
            types.Tool(name=tool.name, description=tool.description, input_schema=tool.input)
            for tool in tools.values()
        ]
        return types.ListToolsResult(tools=listed)

    async def call_tool(
        _: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            return _result(f"Unknown tool: {params.name}", is_error=True)
        answer = await calls.call(tool, params.arguments or {})
        return _result(answer.text, is_error=answer.is_error)

    server: Server[Any] = Server(
        name, version=__version__, on_list_tools=list_tools, on_call_tool=call_tool
    )
    manager = StreamableHTTPSessionManager(app=server, json_response=True, stateless=True)
    return manager, _Guarded(manager.handle_request, token)


def _result(text: str, *, is_error: bool) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], is_error=is_error
    )


class _Guarded:
    """ASGI app that lets only requests with the session's token pass."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = Headers(scope=scope)
        given = headers.get("authorization", "").encode("latin-1")
        length = headers.get("content-length", "")
        if not hmac.compare_digest(given, self._expected):
            await _refusal(401, "this server is for one session")(scope, receive, send)
        elif scope["path"] != "/mcp":
            await _refusal(404, "there is only /mcp")(scope, receive, send)
        elif scope["method"] != "POST":
            # No notification stream and no session to delete: the protocol allows 405 for these.
            await _refusal(405, "only POST")(scope, receive, send)
        elif not length.isdecimal() or int(length) > MAX_REQUEST_BYTES:
            await _refusal(413, "a body of at most 4 MiB, with its length")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _refusal(status: int, why: str) -> JSONResponse:
    headers = {"allow": "POST"} if status == 405 else {}
    return JSONResponse({"error": why}, status, headers=headers)
