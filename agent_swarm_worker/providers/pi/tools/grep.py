"""The tool `grep`: lines that match a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.providers.pi.tools.arguments import Param
from agent_swarm_worker.providers.pi.tools.base import CodingTool
from agent_swarm_worker.providers.pi.tools.files import to_utf8
from agent_swarm_worker.providers.pi.tools.limits import clipped

if TYPE_CHECKING:
    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.providers.pi.tools.place import Place, Spot
    from agent_swarm_worker.providers.pi.tools.searching import Findings, Searcher

DEFAULT_LIMIT = 100
MAX_LINE_CHARS = 500


class GrepTool(CodingTool):
    """Searches the contents of files."""

    name = "grep"
    description = (
        "Search file contents for a regular expression (Python's re), line by line. Answers with"
        " path:line: text. Skips binary files, links, node_modules and the folders of version"
        f" control; shows {DEFAULT_LIMIT} matches unless limit says otherwise."
    )
    params = (
        Param("pattern", "string", "Regular expression, or plain text if literal is true", True),
        Param("path", "string", "File or directory; the working directory by default"),
        Param("glob", "string", "Only files that match, such as *.py or src/**/*.{ts,tsx}"),
        Param("ignoreCase", "boolean", "Do not tell upper from lower case"),
        Param("literal", "boolean", "The pattern is plain text"),
        Param("context", "integer", "Lines to show before and after each match", least=0, most=20),
        Param("limit", "integer", "How many matches to show", least=1, most=1000),
    )

    def __init__(self, place: Place, redactor: Redactor, searcher: Searcher) -> None:
        super().__init__(place, redactor)
        self._searcher = searcher

    async def use(self, args: dict[str, Any]) -> ToolOutcome:
        """Search."""
        for name in ("pattern", "glob"):
            to_utf8(args.get(name, ""), name)
        limit = args.get("limit", DEFAULT_LIMIT)
        spot = await self.place.spot(args.get("path", "."))
        findings = await self._searcher.search(
            spot,
            mode="grep",
            pattern=args["pattern"],
            glob=args.get("glob", ""),
            ignore_case=args.get("ignoreCase", False),
            literal=args.get("literal", False),
            context=args.get("context", 0),
            limit=limit,
        )
        lines, has_more = self._shown(findings, spot, limit)
        notes = [
            f"[{self.place.below(spot, line[1])} left out: the pattern takes too long in it]"
            for line in findings.lines
            if line[0] == "slow"
        ][:10]
        if has_more:
            notes.append(f"[more than {limit} matches; narrow the search or raise limit]")
        if not findings.is_complete:
            notes.append(
                f"[not everything was searched: stopped after {self._searcher.search_s:g} s]"
            )
        body = "\n".join(lines) or "no matches"
        return ToolOutcome("\n\n".join([clipped(body, max_lines=50_000), *notes]))

    def _shown(self, findings: Findings, spot: Spot, limit: int) -> tuple[list[str], bool]:
        """Return the lines for the model, and whether there was one match too many."""
        shown: list[str] = []
        matches, last = 0, ("", 0)
        has_context = any(line[0] == "around" for line in findings.lines)
        for kind, *rest in findings.lines:
            if kind not in {"match", "around"}:
                continue
            path, number, text = self.place.below(spot, rest[0]), *rest[1:]
            matches += kind == "match"
            if matches > limit:
                return shown, True
            # Only where lines around matches are shown is it told that some are missing.
            if has_context and last[0] and (last[0] != path or number > last[1] + 1):
                shown.append("--")
            last = (path, number)
            # Scrubbed before it is cut: half a secret would not be recognised.
            text = self.redactor.text(text)
            text = text if len(text) <= MAX_LINE_CHARS else f"{text[:MAX_LINE_CHARS]} […]"
            shown.append(
                f"{path}:{number}: {text}" if kind == "match" else f"{path}-{number}- {text}"
            )
        return shown, False
