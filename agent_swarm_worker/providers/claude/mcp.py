"""The tool servers of a session: those of the surroundings, the installed ones, and the swarm's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.guards.secret_env import is_secret_name, secret_values_of
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.kit.mcp_config import (
    SWARM_SERVER,
    mcp_config_bytes,
    mcp_entry,
    swarm_server,
)
from agent_swarm_worker.providers.kit.native import mapping, text

if TYPE_CHECKING:
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, McpServer, ProviderSessionConfig, Redactor

FILE_NAME = ".mcp.json"
MAX_FILE_BYTES = 1024 * 1024
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


async def session_mcp_config(config: ProviderSessionConfig, *, log: Log | None = None) -> bytes:
    """Return the configuration file of one session.

    Whatever else there is, the swarm's own server is in it with the headers that attribute nested
    calls to this task (guide section 5): the CLI reads this file and no other.
    """
    inherited = await inherited_servers(config.guest, config.cwd, log=log or Log())
    for entry in inherited.values():
        _register_secrets(entry, config.redactor)
    ours = _swarm_server(config)
    installed = [server for server in config.mcp_servers if server.name != SWARM_SERVER]
    if SWARM_SERVER in inherited:
        inherited[SWARM_SERVER] = _taken_over(inherited[SWARM_SERVER], ours)
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
        content = await guest.read(path, max_bytes=MAX_FILE_BYTES)
        servers = mapping(orjson.loads(content)).get("mcpServers")
    except (OSError, orjson.JSONDecodeError) as error:
        log.warning(Event.MCP_CONFIG, path=str(path), why=str(error))
        return {}
    return mapping(servers)


def _swarm_server(config: ProviderSessionConfig) -> McpServer:
    for server in config.mcp_servers:
        if server.name == SWARM_SERVER:
            return server
    return swarm_server(
        api_url=config.api_url,
        api_key=config.api_key,
        agent_id=config.agent_id,
        task_id=config.task_id,
        context_key=config.context_key,
    )


def _taken_over(entry: dict[str, Any], ours: McpServer) -> dict[str, Any]:
    """Keep what else an operator's entry says (a timeout, a header); address and identity are ours.

    Header names do not care about case, so an old ``authorization`` must not stay beside ours.
    """
    own = mcp_entry(ours)
    names = {name.lower() for name in ours.headers}
    kept = {
        name: value
        for name, value in mapping(entry.get("headers")).items()
        if name.lower() not in names
    }
    rest = {key: value for key, value in entry.items() if key not in {"command", "args", "env"}}
    return {**rest, **own, "headers": {**kept, **ours.headers}}


def _register_secrets(entry: dict[str, Any], redactor: Redactor) -> None:
    """A file's secrets would else show up in what the CLI prints about its servers."""
    env = {name: text(value) for name, value in mapping(entry.get("env")).items()}
    for name, value in secret_values_of(env):
        redactor.add(name, value)
    for name, value in mapping(entry.get("headers")).items():
        is_secret = name.lower() in _SECRET_HEADERS or is_secret_name(name.replace("-", "_"))
        if is_secret:
            redactor.add(name, text(value))
