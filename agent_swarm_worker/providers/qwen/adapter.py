"""Make sessions of Qwen Code."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.providers.acp.adapter import AcpAdapter
from agent_swarm_worker.providers.acp.target import Target
from agent_swarm_worker.providers.kit.mcp_config import mcp_entry
from agent_swarm_worker.providers.qwen.spec import SPEC, QwenOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import McpServer, ProviderSessionConfig
    from agent_swarm_worker.providers.acp.launch import Plan

DEFAULTS = "QWEN_CODE_SYSTEM_DEFAULTS_PATH"
_DEFAULTS = {
    "memory": {"enableManagedAutoMemory": False, "enableManagedAutoDream": False},
    "ui": {"enableFollowupSuggestions": False},
}
"""Of what nobody reads here; the user's own settings go before it."""
OVERRIDES = "QWEN_CODE_SYSTEM_SETTINGS_PATH"
_TOOLS = (
    *("run_shell_command", "read_file", "edit", "write_file", "notebook_edit", "glob"),
    *("grep_search", "list_directory", "web_fetch", "agent", "skill"),
)
_GUARDED = {
    "disableAllHooks": True,
    "permissions": {"ask": list(_TOOLS)},
    "tools": {"approvalMode": "default", "discoveryCommand": "", "callCommand": ""},
}
"""Goes before the settings of the user and of a repository, whose hooks, rules, commands and tool
servers would otherwise run what nobody is asked about (measured with 0.24.4)."""
DISCOVERY_MS = 60_000


class QwenAdapter(AcpAdapter):
    """Runs each task in a process of ``qwen --acp``."""

    spec = SPEC
    # By default a second model judges each call (measured with 0.24.4).
    target = Target(
        name="Qwen Code",
        # Without the second, the first prompt finds no tools of servers that are slow to start.
        env={"QWEN_CODE_NO_RELAUNCH": "true", "QWEN_CODE_LEGACY_MCP_BLOCKING": "1"},
        modes=("yolo",),
        model_variable="OPENAI_MODEL",
        steering="queue",
        stays=True,
        session_files=((".qwen/projects", "*/chats/{id}.jsonl"),),
    )

    def program(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return its command line; raises `BadSetting`."""
        return (*QwenOptions.load(env).program, "--acp")

    async def plan(self, config: ProviderSessionConfig) -> Plan:
        """Return the choices for one session.

        The tool servers are in a file: one that comes over the protocol has 5 s to answer.
        """
        plan = self.plan_of(config, self.target)
        # In a folder of its own: the program writes the file anew, for everybody to read.
        path = config.private_dir / "qwen" / "defaults.json"
        is_trusted = config.permissions is None
        servers = {server.name: _entry(server, is_trusted) for server in plan.mcp_servers}
        content = orjson.dumps({**_DEFAULTS, "mcpServers": servers})
        env, files = {DEFAULTS: str(path)}, [PrivateFile(path=path, content=content)]
        if config.permissions is not None:
            path = config.private_dir / "qwen" / "settings.json"
            env[OVERRIDES] = str(path)
            mcp = {"allowed": list(servers), "serverCommand": ""}
            guarded = orjson.dumps({**_GUARDED, "mcp": mcp, "mcpServers": servers})
            files.append(PrivateFile(path=path, content=guarded))
        return replace(plan, env={**plan.env, **env}, files=tuple(files), mcp_servers=())


def _entry(server: McpServer, is_trusted: bool) -> dict[str, Any]:
    """Return a tool server in the program's own form."""
    limits = {"discoveryTimeoutMs": DISCOVERY_MS, "trust": is_trusted}
    if server.transport == "stdio":
        return {**mcp_entry(server), **limits}
    address = "httpUrl" if server.transport == "http" else "url"
    return {address: server.url, "headers": dict(server.headers), **limits}
