"""Build the launch of the Amp CLI: arguments, environment, a configuration of its own.

A system prompt, a model or an effort takes a mode of a plugin. Plugins and settings are in the
user's folder of configurations, so each session has one, of links to the user's files.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.amp.spec import MODES, SPEC, AmpOptions
from agent_swarm_worker.providers.kit.cli_adapter import (
    encoded,
    linked_folder,
    read_settings,
    session_env,
    session_servers,
)
from agent_swarm_worker.providers.kit.launch import Launch
from agent_swarm_worker.providers.kit.mcp_config import mcp_entry
from agent_swarm_worker.providers.kit.native import mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.contract import ProviderSessionConfig

FOLDER = "amp-config"
PLUGIN = "agent-swarm.ts"
MODE = "agent-swarm"
"""The name of the plugin's mode."""
_BASE = "medium"
"""The mode that a named model is used in."""
_SETTINGS = "settings.json"
_SERVERS = "amp.mcpServers"
_HEADLESS = {
    "amp.dangerouslyAllowAll": True,
    "amp.notifications.enabled": False,
    "amp.notifications.system.enabled": False,
    "amp.updates.mode": "disabled",
}


async def prepared(config: ProviderSessionConfig) -> Callable[[ProviderSessionConfig], Launch]:
    """Prepare the session's configuration; return the function that builds its launches."""
    folder = config.private_dir / FOLDER
    ours = folder / "amp"
    user = PurePath(AmpOptions.load(config.env).user_config or config.private_dir / "no-config")
    own = await read_settings(config, user / "amp" / _SETTINGS, _SERVERS)
    settings = session_settings(config, own)
    await linked_folder(config, folder, user, own=("amp",))
    await linked_folder(config, ours, user / "amp", own=(_SETTINGS, "plugins"))
    await linked_folder(config, ours / "plugins", user / "amp/plugins", own=(PLUGIN,))
    mode, plugin = _mode(config)

    def launch(config: ProviderSessionConfig) -> Launch:
        thread = config.resume_session_id
        return Launch(
            argv=(
                *AmpOptions.load(config.env).program,
                *(("threads", "continue", thread) if thread else ()),
                *("--execute", "--stream-json-thinking", "--no-ide", "--mode", mode),
                *config.additional_args,
            ),
            env=session_env(config, XDG_CONFIG_HOME=str(folder)),
            cwd=config.cwd,
            stdin=encoded(config.prompt),
            files=(
                PrivateFile(path=ours / _SETTINGS, content=orjson.dumps(settings)),
                *((PrivateFile(path=ours / "plugins" / PLUGIN, content=plugin),) if plugin else ()),
            ),
        )

    return launch


def session_settings(config: ProviderSessionConfig, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a session: the user's `own`, overridden to be headless."""
    servers = dict(mapping(own.get(_SERVERS)))
    for server in session_servers(config):
        if server.transport not in SPEC.capabilities.mcp_transports:
            why = f"amp has no {server.transport} transport"
            Log().warning(Event.MCP_CONFIG, skipped=server.name, why=why)
            continue
        entry = mcp_entry(server)
        entry.pop("type", None)
        servers[server.name] = entry
    return {**own, **_HEADLESS, _SERVERS: servers}


def _mode(config: ProviderSessionConfig) -> tuple[str, bytes]:
    """Return the mode of a session, and the plugin that defines it; empty for a mode of the CLI."""
    model = resolve_model(config.model)
    agent: dict[str, Any] = {"extends": model if model in MODES else _BASE}
    if model not in MODES:
        agent["model"] = model
    if config.system_prompt:
        agent["instructions"] = encoded(config.system_prompt).decode()
    if config.reasoning_effort:
        agent["reasoningEffort"] = _effort(config.reasoning_effort)
    if len(agent) == 1:
        return model, b""
    head = orjson.dumps({"key": MODE, "label": MODE}).decode()
    content = f"""// @amp-agent-mode {head}
const agent = {orjson.dumps(agent).decode()};

export default function (amp) {{
  const {{ definition }} = amp.createAgent(agent);
  amp.registerAgentMode({{ key: "{MODE}", label: "{MODE}", agent: definition }});
}}
"""
    return MODE, content.encode()


def _effort(level: str) -> str:
    return "none" if level == "off" else level


def resolve_model(model: str) -> str:
    """Return a mode of the CLI, or ``vendor/model``; tasks may use other short names."""
    name = model.strip()
    return SPEC.models.aliases.get(name.lower(), name) or SPEC.models.default
