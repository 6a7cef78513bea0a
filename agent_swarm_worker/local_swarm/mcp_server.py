"""The tools over MCP (Streamable HTTP). Importing this costs most of a second: see `mcp_door`.

Stateless: each request carries the headers that say who calls, so a restart of the server breaks no
session, and nothing has to be kept open.
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
from agent_swarm_worker.local_swarm.tools.tool import Said

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from agent_swarm_worker.local_swarm.store import Store


def session_manager(store: Store) -> StreamableHTTPSessionManager:
    """Return the handler of MCP requests; its ``run()`` has to be entered first."""

    async def list_tools(_: ServerRequestContext[Any, Any], __: object) -> types.ListToolsResult:
        tools = [
            types.Tool(name=tool.name, description=tool.about, input_schema=tool.takes.schema())
            for tool in TOOLS.values()
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(
        context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        return _result(_use(store, context, params))

    server: Server[Any] = Server(
        "agent-swarm", version=API_VERSION, on_list_tools=list_tools, on_call_tool=call_tool
    )
    return StreamableHTTPSessionManager(app=server, json_response=True, stateless=True)


def _use(
    store: Store, context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
) -> Said:
    tool = TOOLS.get(params.name)
    if tool is None:
        return Said(f"Unknown tool: {params.name}", success=False)
    request = context.request
    assert isinstance(request, Request)
    source_task_id = request.headers.get("x-source-task-id") or None
    agent_id = request.headers["x-agent-id"]  # the door has seen to it that it is there
    return tool.use(store, agent_id, source_task_id, params.arguments or {})


def _result(said: Said) -> types.CallToolResult:
    # Most harnesses show a model the text only, so the data stands there too.
    text = said.message
    if said.data:
        text += "\n\n" + orjson.dumps(said.data, option=orjson.OPT_INDENT_2).decode()
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content={"success": said.success, "message": said.message, **said.data},
        is_error=not said.success,
    )
