"""The tool servers of a session, in the ``.mcp.json`` form that most harnesses read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import McpServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SWARM_SERVER = "agent-swarm"
"""Name of the swarm's own server; agents know its tools as ``mcp__agent-swarm__…``."""


def swarm_server(
    *,
    api_url: str,
    api_key: str,
    agent_id: str,
    task_id: str,
    context_key: str | None = None,
    runtime_id: str | None = None,
) -> McpServer:
    """Return the swarm's server with the headers that attribute nested calls (guide section 5)."""
    headers = {"X-Agent-ID": agent_id, "X-Source-Task-Id": task_id}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    if context_key:
        headers["X-Context-Key"] = context_key
    if runtime_id:
        headers["X-Runtime-Instance-ID"] = runtime_id
    return McpServer(name=SWARM_SERVER, transport="http", url=f"{api_url}/mcp", headers=headers)


def mcp_entry(server: McpServer) -> dict[str, Any]:
    """Return one server as an entry of ``mcpServers``."""
    if server.transport == "stdio":
        entry: dict[str, Any] = {"command": server.command, "args": list(server.args)}
        return entry | ({"env": dict(server.env)} if server.env else {})
    return {"type": server.transport, "url": server.url, "headers": dict(server.headers)}


def mcp_config_bytes(
    servers: Iterable[McpServer], inherited: Mapping[str, Any] | None = None
) -> bytes:
    """Return the file: what was `inherited` from the surroundings, overlaid by `servers`."""
    entries = {**(inherited or {}), **{server.name: mcp_entry(server) for server in servers}}
    return orjson.dumps({"mcpServers": entries}, option=orjson.OPT_INDENT_2)
