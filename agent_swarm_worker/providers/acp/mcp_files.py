"""Write tool servers into an agent's own file, for agents that drop those of the session silently.

The file is private to the session; the user's own is left alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.kit.mcp_config import mcp_entry
from agent_swarm_worker.settings import HarnessOptions, named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.contract import McpServer, ProviderSessionConfig
    from agent_swarm_worker.providers.acp.launch import Plan

CLINE_FILE = "CLINE_MCP_SETTINGS_PATH"
PI_FOLDER = "PI_CODING_AGENT_DIR"
MAX_ENTRIES = 1000


async def with_mcp_file(plan: Plan, config: ProviderSessionConfig) -> Plan:
    """Return the plan with the file that its agent reads tool servers from, if it needs one."""
    match plan.target.mcp_file:
        case "cline":
            path = config.private_dir / "cline-mcp.json"
            file = PrivateFile(path=path, content=_cline(plan.mcp_servers))
            env = {**plan.env, CLINE_FILE: str(path)}
        case "pi":
            folder = config.private_dir / "pi-agent"
            await _link_agent_folder(config, plan, str(folder))
            file = PrivateFile(path=folder / "mcp.json", content=_pi(plan.mcp_servers))
            env = {**plan.env, PI_FOLDER: str(folder)}
        case _:
            return plan
    return replace(plan, env=env, files=(*plan.files, file))


def _cline(servers: Iterable[McpServer]) -> bytes:
    entries = {server.name: mcp_entry(server) for server in servers}
    for entry in entries.values():
        if entry.get("type") == "http":
            entry["type"] = "streamableHttp"
    return orjson.dumps({"mcpServers": entries})


def _pi(servers: Iterable[McpServer]) -> bytes:
    entries: dict[str, Any] = {}
    for server in servers:
        # Without it the tools can only be reached from a script tool, which no model expects.
        entries[server.name] = {**mcp_entry(server), "exposure": "direct"}
    return orjson.dumps({"mcpServers": entries})


async def _link_agent_folder(config: ProviderSessionConfig, plan: Plan, folder: str) -> None:
    """Make a folder with links to the user's files, so that only the tool servers differ."""
    files, home = config.guest.files, HarnessOptions.load(config.env).home
    own = named(plan.env, PI_FOLDER) or f"{home}/.pi/agent"
    try:
        await files.make_dir(folder)
        await files.make_dir(f"{own}/sessions")
        for name, _ in (await files.list(own, limit=MAX_ENTRIES)).entries:
            if name != "mcp.json":
                await files.link(f"{folder}/{name}", f"{own}/{name}")
    except OSError as error:
        msg = f"cannot prepare {folder}: {error.strerror or error}"
        raise ProviderError(msg) from error
