"""The tool `write`: a file as a whole."""

from __future__ import annotations

from typing import Any

from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.providers.pi.tools.arguments import Param
from agent_swarm_worker.providers.pi.tools.base import CodingTool
from agent_swarm_worker.providers.pi.tools.files import lock_of, to_utf8
from agent_swarm_worker.providers.pi.tools.limits import size_of


class WriteTool(CodingTool):
    """Creates or replaces a file."""

    name = "write"
    description = (
        "Write a file: creates it, with its directories, or replaces all that is in it."
        " To change a part of a file use edit."
    )
    params = (
        Param("path", "string", "File, relative to the working directory or absolute", True),
        Param("content", "string", "All that the file is to contain", True),
    )

    async def use(self, args: dict[str, Any]) -> ToolOutcome:
        """Write; once begun it is finished, also if the session is cancelled."""
        content = to_utf8(args["content"], "content")
        spot = await self.place.spot(args["path"], to_write=True)
        async with lock_of(spot.path):
            existed = await spot.replace(content)
        done = "replaced" if existed else "created"
        return ToolOutcome(f"{done} {self.place.shown(spot)} ({size_of(len(content))})")
