"""Build the launch of an agent that speaks ACP: program, environment, tool servers, system prompt.

Prompts and the keys of tool servers go over the protocol, so the arguments hold neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import McpServer, PrivateFile
from agent_swarm_worker.providers.acp.spec import AcpLimits
from agent_swarm_worker.providers.kit.launch import Launch
from agent_swarm_worker.providers.kit.mcp_config import SWARM_SERVER, swarm_server_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import PurePath

    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.acp.target import Target

SYSTEM_PROMPT = "system-prompt.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The choices for one session that its launch and its client share."""

    target: Target
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """The complete environment."""
    files: tuple[PrivateFile, ...] = ()
    model: str = ""
    """Empty: the agent decides."""
    names_model: bool = False
    """The launch names the model."""
    has_system_prompt: bool = False
    """The launch gives the system prompt."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The operator's configuration options."""
    has_client_tools: bool = False
    mcp_servers: tuple[McpServer, ...] = ()
    limits: AcpLimits = field(default_factory=lambda: AcpLimits.load({}))
    is_replay: bool = False
    """No agent runs: a journal is read again."""


def acp_launch(config: ProviderSessionConfig, plan: Plan) -> Launch:
    """Build the launch of one session."""
    return Launch(
        argv=(*plan.command, *config.additional_args),
        env={
            **plan.env,
            "AGENT_SWARM_TASK_ID": config.task_id,
            "AGENT_SWARM_AGENT_ID": config.agent_id,
        },
        cwd=config.cwd,
        files=plan.files,
    )


def session_servers(
    config: ProviderSessionConfig, runtime_id: str | None = None
) -> tuple[McpServer, ...]:
    """Return the tool servers of a session: the swarm's own, then the installed ones."""
    installed = (server for server in config.mcp_servers if server.name != SWARM_SERVER)
    return (swarm_server_of(config, runtime_id), *installed)


def mcp_servers_param(servers: Iterable[McpServer]) -> list[dict[str, Any]]:
    """Return tool servers as the protocol has them: variables and headers as lists of pairs."""
    return [_acp_entry(server) for server in servers]


def _acp_entry(server: McpServer) -> dict[str, Any]:
    if server.transport == "stdio":
        command = {"name": server.name, "command": server.command, "args": list(server.args)}
        return {**command, "env": _pairs(server.env)}
    head = {"type": server.transport, "name": server.name, "url": server.url}
    return {**head, "headers": _pairs(server.headers)}


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def text_file(path: PurePath, content: str) -> PrivateFile:
    """Return a private file; JSON allows half a surrogate pair, UTF-8 does not."""
    return PrivateFile(path=path, content=content.encode("utf-8", "replace"))
