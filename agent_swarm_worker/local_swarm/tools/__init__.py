"""The tools an agent gets from the swarm over MCP, as plain functions of the store.

Nothing here knows the protocol; `mcp_server` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm.tools import (
    channel,
    memory,
    people,
    sending,
    swarm,
    task,
    task_action,
    task_list,
)

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.tools.tool import Tool

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for room in (task, sending, task_action, task_list, swarm, memory, channel, people)
    for tool in room.TOOLS
}
"""Every tool by its name."""
