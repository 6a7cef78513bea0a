"""Build the launch of the pi command line: arguments, environment, private files.

It supports no tool servers (MCP), so an extension of ours in the session's private folder connects
to them.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.kit.cli_adapter import encoded, session_env, session_servers
from agent_swarm_worker.providers.kit.launch import Launch
from agent_swarm_worker.providers.kit.mcp_config import mcp_config_bytes
from agent_swarm_worker.providers.pi_cli.spec import SPEC, PiCliOptions

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderSessionConfig

BRIDGE = "mcp_bridge.mjs"


def pi_launch(config: ProviderSessionConfig) -> Launch:
    """Build the launch of one session; the conversation writes the prompt."""
    bridge, servers = config.private_dir / BRIDGE, config.private_dir / "mcp.json"
    system, model = config.private_dir / "system-prompt.md", resolve_model(config.model)
    resume = "--fork" if config.forks else "--session"
    private = [
        PrivateFile(path=bridge, content=files(__package__).joinpath(BRIDGE).read_bytes()),
        PrivateFile(path=servers, content=_servers(config)),
    ]
    if config.system_prompt:
        private.append(PrivateFile(path=system, content=encoded(config.system_prompt)))
    return Launch(
        argv=(
            *PiCliOptions.load(config.env).program,
            *("--mode", "rpc", "--no-approve", "--extension", str(bridge)),
            *(("--append-system-prompt", str(system)) if config.system_prompt else ()),
            *(("--model", model) if model else ()),
            *(("--thinking", config.reasoning_effort) if config.reasoning_effort else ()),
            *((resume, config.resume_session_id) if config.resume_session_id else ()),
            *config.additional_args,
        ),
        env={
            "PI_OFFLINE": "1",
            "PI_TELEMETRY": "0",
            **session_env(config, SWARM_PI_MCP=str(servers)),
        },
        cwd=config.cwd,
        files=tuple(private),
    )


def _servers(config: ProviderSessionConfig) -> bytes:
    known = SPEC.capabilities.mcp_transports
    chosen = []
    for server in session_servers(config):
        if server.transport in known:
            chosen.append(server)
        else:
            why = f"pi-cli has no {server.transport} transport"
            Log().warning(Event.MCP_CONFIG, skipped=server.name, why=why)
    return mcp_config_bytes(chosen)


def resolve_model(model: str) -> str:
    """Return the name that the program knows; tasks may use short names."""
    name = model.strip()
    return SPEC.models.aliases.get(name.lower(), name)
