"""Create the coding tools of the harness `pi`: read, write, edit, bash, grep, find, ls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.providers.pi.skills import skill_folders
from agent_swarm_worker.providers.pi.tools.base import PathResolver
from agent_swarm_worker.providers.pi.tools.bash import BashTool
from agent_swarm_worker.providers.pi.tools.files import EditTool, ReadTool, WriteTool
from agent_swarm_worker.providers.pi.tools.search import FindTool, GrepTool, LsTool, Searcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.pi.tools.base import Tool

OUTPUT_DIR = "tool-output"
"""Folder in the private directory for long outputs of commands; `read` may read it."""


async def coding_tools(
    config: ProviderSessionConfig, *, clock: Clock, report: Callable[[str], None]
) -> tuple[Tool, ...]:
    """Return the tools of one session, whose end must end all processes of the guest.

    `report` gets each new state of a command's progress bar.
    """
    guest, redactor = config.guest, config.redactor
    output_dir = config.private_dir / OUTPUT_DIR
    skills = await skill_folders(guest, config.env)
    paths = await PathResolver.open(guest, config.cwd, config.env, (output_dir, *skills))
    searcher = Searcher(guest, clock)
    tools = (
        ReadTool(paths, redactor),
        WriteTool(paths, redactor),
        EditTool(paths, redactor),
        BashTool(paths, config, clock, output_dir, report),
        GrepTool(paths, redactor, searcher),
        FindTool(paths, redactor, searcher),
        LsTool(paths, redactor),
    )
    return tuple(tool.tool() for tool in tools)
