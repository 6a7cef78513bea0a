"""The session's ``config.toml``: the operator's, with what a headless session needs laid over it.

Everything that is a secret or long goes in here and not into the arguments: the file is private.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.codex.options import CodexOptions
from agent_swarm_worker.providers.kit.mcp_config import (
    mcp_table,
    register_secrets,
    swarm_server_of,
)
from agent_swarm_worker.providers.kit.native import mapping, text
from agent_swarm_worker.providers.kit.toml import toml_bytes

if TYPE_CHECKING:
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, ProviderSessionConfig
    from agent_swarm_worker.providers.codex.plan import Plan

STARTUP_TIMEOUT_S = 30
TOOL_TIMEOUT_S = 300
PROJECT_DOC_BYTES = 32 * 1024
"""How much of a repository's notes the CLI reads by default."""
MAX_CONFIG_BYTES = 16 << 20
_COMMON = {
    "enabled": True,
    "startup_timeout_sec": STARTUP_TIMEOUT_S,
    "tool_timeout_sec": TOOL_TIMEOUT_S,
    "default_tools_approval_mode": "approve",
}
"""What every tool server is configured with."""


async def operator_config(guest: Guest, home: PurePath | None, log: Log) -> dict[str, Any]:
    """Return the operator's own configuration; one that cannot be read is left out, with a word."""
    path = home / "config.toml" if home else None
    if path is None:
        return {}
    try:
        content = await guest.read(path, max_bytes=MAX_CONFIG_BYTES)
        return tomllib.loads(content.decode())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        log.warning(Event.CONFIG_IGNORED, key=str(path), why=str(error))
        return {}


def session_config(
    config: ProviderSessionConfig, plan: Plan, base: dict[str, Any], log: Log
) -> bytes:
    """Return the file for one session.

    Args:
        config: the session.
        plan: what was decided for it.
        base: the operator's configuration.
        log: hears of servers that are left out.
    """
    table: dict[str, Any] = {
        **base,
        "approval_policy": "never",
        "sandbox_mode": "danger-full-access",
        "check_for_update_on_startup": False,
        "cli_auth_credentials_store": "file",
        # By default a turn begins after a second, without the tools of a server that took longer.
        "mcp_optional_startup_grace_ms": STARTUP_TIMEOUT_S * 1000,
        "analytics": {**mapping(base.get("analytics")), "enabled": False},
        # Both ask the vendor's servers for a catalogue before each session.
        "features": {"apps": False, "plugins": False, **mapping(base.get("features"))},
        "mcp_servers": _servers(config, mapping(base.get("mcp_servers")), log),
    }
    if plan.model:
        table["model"] = plan.model
    if plan.effort:
        table["model_reasoning_effort"] = plan.effort
    if plan.uses_agents_md:
        limit = base.get("project_doc_max_bytes")
        limit = limit if isinstance(limit, int) else PROJECT_DOC_BYTES
        table["project_doc_max_bytes"] = limit + len(config.system_prompt.encode()) + 1024
    elif config.system_prompt:
        own = text(base.get("developer_instructions"))
        table["developer_instructions"] = "\n\n".join(filter(None, (own, config.system_prompt)))
    return toml_bytes(table)


def _servers(
    config: ProviderSessionConfig, own: dict[str, Any], log: Log
) -> dict[str, dict[str, Any]]:
    """The operator's tool servers, overlaid by the installed ones and, last, the swarm's own."""
    tables: dict[str, dict[str, Any]] = {
        name: table for name, table in own.items() if isinstance(table, dict)
    }
    for table in tables.values():
        register_secrets(table, config.redactor, headers="http_headers")
    ours = swarm_server_of(config, CodexOptions.load(config.env).runtime_id)
    for server in (*config.mcp_servers, ours):
        if server.transport == "sse":
            log.warning(Event.MCP_CONFIG, skipped=server.name, why="codex has no sse transport")
            continue
        tables[server.name] = mcp_table(server, _COMMON)
    return tables
