"""The tool servers of a session: those of the surroundings, the installed ones, and the swarm's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.kit.mcp_config import (
    SWARM_SERVER,
    mcp_config_bytes,
    read_mcp_config,
    register_secrets,
    swarm_server_of,
    taken_over,
)

if TYPE_CHECKING:
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, ProviderSessionConfig

FILE_NAME = ".mcp.json"
MAX_FILE_BYTES = 1024 * 1024


async def session_mcp_config(config: ProviderSessionConfig, *, log: Log | None = None) -> bytes:
    """Return the configuration file of one session.

    Whatever else there is, the swarm's own server is in it with the headers that attribute nested
    calls to this task (docs/api.md 15.3): the CLI reads this file and no other.
    """
    inherited = await inherited_servers(config.guest, config.cwd, log=log or Log())
    for entry in inherited.values():
        register_secrets(entry, config.redactor)
    ours = swarm_server_of(config)
    installed = [server for server in config.mcp_servers if server.name != SWARM_SERVER]
    if SWARM_SERVER in inherited:
        inherited[SWARM_SERVER] = taken_over(inherited[SWARM_SERVER], ours)
        return mcp_config_bytes(installed, inherited)
    return mcp_config_bytes([ours, *installed], inherited)


async def inherited_servers(guest: Guest, cwd: PurePath, *, log: Log) -> dict[str, dict[str, Any]]:
    """Collect the servers of every ``.mcp.json`` from `cwd` up to the root.

    Of two entries with one name, the one nearer to the root counts: that is where the operator
    writes, and a repository the agent works on must not replace it.
    """
    servers: dict[str, dict[str, Any]] = {}
    for folder in (cwd, *cwd.parents):
        for name, entry in (await _read(guest, folder / FILE_NAME, log)).items():
            if isinstance(entry, dict):
                servers[name] = entry
            else:
                log.warning(Event.MCP_CONFIG, path=str(folder / FILE_NAME), skipped=name)
    return servers


async def _read(guest: Guest, path: PurePath, log: Log) -> dict[str, Any]:
    try:
        found = await guest.files.info(str(path))
        if found is None or found.kind != "file":
            return {}
        if found.size > MAX_FILE_BYTES:
            log.warning(Event.MCP_CONFIG, path=str(path), why="too large")
            return {}
        return read_mcp_config(await guest.read(path, max_bytes=MAX_FILE_BYTES))
    except (OSError, ValueError) as error:
        log.warning(Event.MCP_CONFIG, path=str(path), why=str(error))
        return {}
