"""The tools an agent gets from the swarm over MCP, as plain functions of the store.

Nothing here knows the protocol; `mcp_server` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm.tools import channels, memory, tasks

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.tools.tool import Tool

TOOLS: dict[str, Tool] = {
    tool.name: tool for room in (tasks, channels, memory) for tool in room.TOOLS
}
"""Every tool by its name."""
