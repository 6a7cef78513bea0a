"""The tool `find`: files by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.providers.pi.tools.arguments import Param
from agent_swarm_worker.providers.pi.tools.base import CodingTool
from agent_swarm_worker.providers.pi.tools.files import to_utf8
from agent_swarm_worker.providers.pi.tools.limits import clipped

if TYPE_CHECKING:
    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.providers.pi.tools.place import Place
    from agent_swarm_worker.providers.pi.tools.searching import Searcher

DEFAULT_LIMIT = 1000


class FindTool(CodingTool):
    """Finds files by their names."""

    name = "find"
    description = (
        "Find files and directories by a shell pattern. Without a slash the pattern is for names"
        " (*.py), with one for paths below the start (src/**/test_*.py); ** spans directories."
        " Skips node_modules and the folders of version control, follows no links; shows"
        f" {DEFAULT_LIMIT} paths unless limit says otherwise."
    )
    params = (
        Param("pattern", "string", "Shell pattern, such as *.py or **/*.{ts,tsx}", True),
        Param("path", "string", "Where to start; the working directory by default"),
        Param("limit", "integer", "How many paths to show", least=1, most=10_000),
    )

    def __init__(self, place: Place, redactor: Redactor, searcher: Searcher) -> None:
        super().__init__(place, redactor)
        self._searcher = searcher

    async def use(self, args: dict[str, Any]) -> ToolOutcome:
        """Find."""
        to_utf8(args["pattern"], "pattern")
        limit = args.get("limit", DEFAULT_LIMIT)
        spot = await self.place.spot(args.get("path", "."))
        findings = await self._searcher.search(
            spot, mode="find", pattern=args["pattern"], limit=limit
        )
        paths = [self.place.below(spot, line[1]) for line in findings.lines if line[0] == "path"]
        notes = []
        if len(paths) > limit:
            notes.append(f"[more than {limit} paths; narrow the search or raise limit]")
        if not findings.is_complete:
            notes.append(f"[not everything was seen: stopped after {self._searcher.search_s:g} s]")
        shown = [path if path.isprintable() else repr(path) for path in paths[:limit]]
        body = "\n".join(shown) or "nothing matches"
        return ToolOutcome("\n\n".join([clipped(body, max_lines=20_000), *notes]))
