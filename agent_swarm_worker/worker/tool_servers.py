"""The tool servers of a session: the swarm's own, and those installed for this agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast

from agent_swarm_worker.contract import McpServer
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.guards.secret_env import is_secret_name
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.kit.mcp_config import SWARM_SERVER, swarm_server
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.worker.parts import Api, Basics, Config, Identity

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderAdapter, Redactor
    from agent_swarm_worker.swarm.wire import InstalledMcpServer, Task
    from agent_swarm_worker.worker.slots import RunningTask

LONG_ENOUGH_TO_BE_SECRET = 16
"""Of a value whose name says nothing; a shorter one, such as ``production``, is a word."""
TRANSPORTS = frozenset({"http", "sse", "stdio"})


class Parts(Identity, Config, Basics, Api, Protocol):
    """What this module uses of the worker."""


@dataclass(frozen=True, slots=True)
class ToolServers:
    """What a session is given, and what its prompt names."""

    servers: tuple[McpServer, ...]
    """The swarm's own first."""
    installed: tuple[str, ...]
    """Names of the installed ones that work."""


async def session_tool_servers(
    worker: Parts,
    adapter: ProviderAdapter,
    task: RunningTask,
    row: Task | None,
    redactor: Redactor,
) -> ToolServers:
    """Return the swarm's server and the installed ones with their secrets resolved.

    Fetched for each session, so a rotated header is in force with the next one. Every secret is
    registered before anything can print it. If the list cannot be had, the session goes without.
    """
    own = swarm_server(
        api_url=worker.settings.api_url,
        api_key=worker.settings.api_key,
        agent_id=worker.agent_id,
        task_id=task.task_id,
        context_key=row.context_key if row else None,
        runtime_id=worker.runtime_id,
    )
    can = adapter_spec(adapter).capabilities
    if not (can.has_local_environment or can.mcp_transports):
        return ToolServers((own,), ())
    try:
        installed = await worker.client.surroundings.mcp_servers(
            worker.agent_id, resolve_secrets=can.has_local_environment
        )
    except ApiError as error:
        worker.log.warning(Event.MCP_CONFIG, why=str(error))
        return ToolServers((own,), ())
    names = tuple(server.name for server in installed if server.is_usable)
    if not can.has_local_environment:
        return ToolServers((own,), names)
    usable = [_server(worker, server, redactor) for server in installed]
    return ToolServers((own, *(server for server in usable if server is not None)), names)


def _server(worker: Parts, server: InstalledMcpServer, redactor: Redactor) -> McpServer | None:
    for name, value in (*server.env.items(), *server.headers.items()):
        if is_secret_name(name) or len(value) >= LONG_ENOUGH_TO_BE_SECRET:
            redactor.add(name, value.removeprefix("Bearer "))
    why = server.auth_error
    if server.name == SWARM_SERVER:
        why = "its name is the swarm's own"
    elif server.transport not in TRANSPORTS:
        why = f"unknown transport {server.transport!r}"
    elif not (server.command if server.transport == "stdio" else server.url):
        why = "it has neither command nor address"
    if why or not server.is_usable:
        if why:
            worker.log.warning(Event.MCP_CONFIG, server=server.name, why=why)
        return None
    return McpServer(
        name=server.name,
        transport=cast('Literal["http", "sse", "stdio"]', server.transport),
        url=server.url,
        headers=server.headers,
        command=server.command,
        args=server.args,
        env=server.env,
    )
