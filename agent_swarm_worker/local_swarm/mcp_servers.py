"""Store MCP servers and their installation for agents (docs/api.md 15.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.local_swarm import agents, config
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route, found
from agent_swarm_worker.local_swarm.tables import MCP_SERVERS
from agent_swarm_worker.local_swarm.validation import Choice, Shape, Text, optional

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

CREATE = Shape(
    name=Text(1),
    transport=Choice("stdio", "http", "sse"),
    description=Text().optional(),
    scope=Choice("global", "swarm", "agent").optional("agent"),
    **optional(Text(), "ownerAgentId command args url headers envConfigKeys headerConfigKeys"),
)
INSTALL = Shape(agentId=Text())
RESOLVE = Shape(resolveSecrets=Text().optional(""))


def _list(call: Call) -> Document:
    return _listing(call.store.find(MCP_SERVERS, "1 ORDER BY name"))


def _listing(servers: list[Document]) -> Document:
    return {"servers": servers, "total": len(servers)}


def _create(call: Call) -> Reply:
    is_local = call.body["transport"] == "stdio"
    needed, kind = ("command", "stdio") if is_local else ("url", "http/sse")
    if not call.body.get(needed):
        raise Refusal(400, f"{needed} is required for {kind} transport")
    now = call.store.now()
    row = {**call.body, "authMethod": "static", "createdAt": now, "lastUpdatedAt": now}
    return Reply(201, {"server": call.store.insert(MCP_SERVERS, row)})


def _get(call: Call) -> Document:
    return found(call.store.get(MCP_SERVERS, call.path["id"]), "MCP server")


def _delete(call: Call) -> Document:
    server = _get(call)
    call.store.run("DELETE FROM mcp_installs WHERE mcpServerId = ?", server["id"])
    call.store.delete(MCP_SERVERS, "id = ?", server["id"])
    return {"success": True, "deletedScriptConnectionCount": 0}


def _install(call: Call) -> Document:
    row = ("mcp_installs", "mcpServerId", _get(call)["id"], call.body["agentId"])
    return {"agentMcpServer": agents.install(call.store, *row)}


def _uninstall(call: Call) -> Document:
    sql = "DELETE FROM mcp_installs WHERE mcpServerId = ? AND agentId = ?"
    return {"success": bool(call.store.run(sql, call.path["id"], call.path["agentId"]))}


def _of_agent(call: Call) -> Document:
    store, agent_id = call.store, call.path["id"]
    rows = store.rows(
        "SELECT mcpServerId, installedAt FROM mcp_installs WHERE agentId = ?", agent_id
    )
    installed = {row["mcpServerId"]: row["installedAt"] for row in rows}
    servers = [
        {**server, "isActive": True, "installedAt": installed[server["id"]]}
        for server in store.find(MCP_SERVERS, "isEnabled = 1 ORDER BY name")
        if server["id"] in installed
    ]
    if call.query["resolveSecrets"] == "true":
        values = {row["key"]: row["value"] for row in config.resolved(store, agent_id)}
        servers = [_resolved(server, values) for server in servers]
    return _listing(servers)


def _resolved(server: Document, values: dict[str, str]) -> Document:
    return {
        **server,
        "resolvedEnv": _looked_up(server["envConfigKeys"], values),
        "resolvedHeaders": _looked_up(server["headerConfigKeys"], values),
        "authError": None,
    }


def _looked_up(wanted: str | None, values: dict[str, str]) -> dict[str, str]:
    """Resolve JSON text ``["KEY"]`` or ``{"NAME": "KEY"}`` against configuration rows."""
    try:
        parsed: Any = orjson.loads(wanted or "{}")
    except orjson.JSONDecodeError:
        return {}
    if isinstance(parsed, list):
        parsed = {key: key for key in parsed if isinstance(key, str)}
    pairs = parsed.items() if isinstance(parsed, dict) else ()
    return {name: values[key] for name, key in pairs if isinstance(key, str) and key in values}


ROUTES = (
    Route("GET", "/api/mcp-servers", _list),
    Route("POST", "/api/mcp-servers", _create, body=CREATE),
    Route("GET", "/api/mcp-servers/{id}", _get),
    Route("DELETE", "/api/mcp-servers/{id}", _delete),
    Route("POST", "/api/mcp-servers/{id}/install", _install, body=INSTALL),
    Route("DELETE", "/api/mcp-servers/{id}/install/{agentId}", _uninstall),
    Route("GET", "/api/agents/{id}/mcp-servers", _of_agent, query=RESOLVE),
)
