"""Serve the tools over MCP (Streamable HTTP). Importing this is slow, see `mcp_endpoint`.

Stateless: each request names the calling agent in its headers, so a restart breaks no session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mcp_types as types
import orjson
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request

from agent_swarm_worker.local_swarm.tasks import API_VERSION
from agent_swarm_worker.local_swarm.tools import TOOLS
from agent_swarm_worker.local_swarm.tools.tool import ToolResult

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from agent_swarm_worker.local_swarm.store import Store


def session_manager(store: Store) -> StreamableHTTPSessionManager:
    """Return the handler of MCP requests; its ``run()`` must be entered first."""

    async def list_tools(_: ServerRequestContext[Any, Any], __: object) -> types.ListToolsResult:
        tools = [
            types.Tool(
                name=tool.name, description=tool.description, input_schema=tool.arguments.schema()
            )
            for tool in TOOLS.values()
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(
        context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        return _call_result(_call_tool(store, context, params))

    server: Server[Any] = Server(
        "agent-swarm", version=API_VERSION, on_list_tools=list_tools, on_call_tool=call_tool
    )
    return StreamableHTTPSessionManager(app=server, json_response=True, stateless=True)


def _call_tool(
    store: Store, context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
) -> ToolResult:
    tool = TOOLS.get(params.name)
    if tool is None:
        return ToolResult(f"Unknown tool: {params.name}", success=False)
    request = context.request
    assert isinstance(request, Request)
    source_task_id = request.headers.get("x-source-task-id") or None
    agent_id = request.headers["x-agent-id"]  # checked by `McpEndpoint`
    return tool.call(store, agent_id, source_task_id, params.arguments or {})


def _call_result(result: ToolResult) -> types.CallToolResult:
    # Most harnesses show a model only the text, so it contains the data too.
    text = result.message
    if result.data:
        text += "\n\n" + orjson.dumps(result.data, option=orjson.OPT_INDENT_2).decode()
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content={"success": result.success, "message": result.message, **result.data},
        is_error=not result.success,
    )
