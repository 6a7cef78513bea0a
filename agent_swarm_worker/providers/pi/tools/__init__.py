"""The coding tools of the harness `pi`: read, write, edit, bash, grep, find, ls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.providers.pi.skills import skill_folders
from agent_swarm_worker.providers.pi.tools.bash import BashTool
from agent_swarm_worker.providers.pi.tools.edit import EditTool, WriteTool
from agent_swarm_worker.providers.pi.tools.place import Place
from agent_swarm_worker.providers.pi.tools.read import ReadTool
from agent_swarm_worker.providers.pi.tools.search import FindTool, GrepTool, LsTool, Searcher

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.pi.tool import Tool

OUTPUT_DIR = "tool-output"
"""Where in the private directory the long outputs of commands are; `read` may go there."""


async def coding_tools(config: ProviderSessionConfig, *, clock: Clock) -> tuple[Tool, ...]:
    """Return the tools of one session.

    A command may leave programs in the background: whoever runs the session ends everything in its
    guest at the end.

    Args:
        config: where, with which environment, and which secrets to keep.
        clock: measures the time limits.
    """
    guest, redactor = config.guest, config.redactor
    output_dir = config.private_dir / OUTPUT_DIR
    skills = await skill_folders(guest, config.env)
    place = await Place.open(guest, config.cwd, config.env, readable=(output_dir, *skills))
    searcher = Searcher(guest, clock=clock)
    return (
        ReadTool(place, redactor),
        WriteTool(place, redactor),
        EditTool(place, redactor),
        BashTool(place, config, clock=clock, output_dir=output_dir),
        GrepTool(place, redactor, searcher),
        FindTool(place, redactor, searcher),
        LsTool(place, redactor),
    )
