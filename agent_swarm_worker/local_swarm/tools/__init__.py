"""The swarm's tools for agents, as functions of the store; `mcp_server` serves them over MCP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm.tools import channels, memory, tasks

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.tools.tool import Tool

TOOLS: dict[str, Tool] = {
    tool.name: tool for module in (tasks, channels, memory) for tool in module.TOOLS
}
"""Every tool by its name."""
