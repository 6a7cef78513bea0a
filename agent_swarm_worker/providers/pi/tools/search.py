"""Running `search_child`: bounded in time and in what it may say, and gone when it is cancelled.

The tool `grep`: lines that match a pattern.

The tool `find`: files by name.

The tool `ls`: what is in a directory.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from agent_swarm_worker.contract import NO_GRACE, Command
from agent_swarm_worker.processes.pipes import LineFramer, drain, pump
from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.providers.pi.tools import search_child
from agent_swarm_worker.providers.pi.tools.base import (
    CodingTool,
    Param,
    ToolRefusal,
    clipped,
    to_utf8,
)

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Guest, Process, Redactor
    from agent_swarm_worker.contract.guest import FileKind
    from agent_swarm_worker.providers.pi.tools.place import Place, Spot

SEARCH_S = 30.0
"""How long a search may take; what was found until then is shown."""
FILE_S = 2.0
"""How long one file may take."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MAX_LINE_BYTES = 1024 * 1024


@dataclass(slots=True)
class Findings:
    """What a search said."""

    lines: list[list[Any]]
    is_complete: bool = False
    """It came to its end, or as far as it was asked to go."""


class Searcher:
    """Starts searches, each a process of its own.

    Args:
        guest: where they run.
        clock: measures their time.
        search_s: how long one may take.
        file_s: how long one file of it may take.
    """

    def __init__(
        self,
        guest: Guest,
        *,
        clock: Clock,
        search_s: float = SEARCH_S,
        file_s: float = FILE_S,
    ) -> None:
        self._guest = guest
        self._clock = clock
        self._names = (f"search-{number}" for number in itertools.count(1))
        self.search_s = search_s
        self._file_s = file_s

    async def search(self, spot: Spot, **request: Any) -> Findings:
        """Search below a place.

        Raises:
            ToolRefusal: the pattern or the place cannot be used, or there is no Python.
            ProviderError: the process cannot be started.
        """
        asked = {"root": spot.root, "parts": spot.parts, "file_s": self._file_s, **request}
        findings = Findings([])
        python = self._guest.capabilities.python
        if python is None:
            msg = "there is no Python where this session runs; use bash"
            raise ToolRefusal(msg)
        command = Command(
            argv=(python, "-I", "-S", "-B", "-X", "utf8", "-c", _program()),
            cwd=PurePosixPath("/"),
            env={},
            name=next(self._names),
            stdin=True,
        )
        async with await self._guest.start(command) as child:
            try:
                await self._converse(child, orjson.dumps(asked), findings)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._guest.end(child, NO_GRACE)
        for line in findings.lines:
            if line[0] == "error":
                raise ToolRefusal(line[1])
        return findings

    async def _converse(self, child: Process, request: bytes, findings: Findings) -> None:
        framer = LineFramer(_MAX_LINE_BYTES)
        size = 0

        async def stop_in_time(scope: anyio.CancelScope) -> None:
            await self._clock.sleep(self.search_s)
            scope.cancel()

        async with anyio.create_task_group() as tasks:

            def on_chunk(chunk: bytes) -> None:
                nonlocal size
                size += len(chunk)
                for line in framer.feed(chunk):
                    said = orjson.loads(line)
                    findings.is_complete |= said == ["end"]
                    findings.lines += [] if said == ["end"] else [said]
                if size > MAX_ANSWER_BYTES:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(stop_in_time, tasks.cancel_scope)
            await child.send(request)
            await child.close_stdin()
            await drain(child, lambda: pump(child.stdout, on_chunk), clock=self._clock)
            tasks.cancel_scope.cancel()


@functools.cache
def _program() -> str:
    """The text of `search_child`: a guest does not have our files."""
    return Path(search_child.__file__).read_text(encoding="utf-8")


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


DEFAULT_LIMIT_OF_FIND = 1000


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
        limit = args.get("limit", DEFAULT_LIMIT_OF_FIND)
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


DEFAULT_LIMIT_OF_LS = 500
MAX_ENTRIES = 100_000
"""How many are looked at before they are sorted."""


class LsTool(CodingTool):
    """Lists a directory."""

    name = "ls"
    description = (
        "List a directory, in alphabetical order and with hidden files. Directories end in /,"
        f" links in @. Shows {DEFAULT_LIMIT} entries unless limit says otherwise."
    )
    params = (
        Param("path", "string", "Directory; the working directory by default"),
        Param("limit", "integer", "How many entries to show", least=1, most=10_000),
    )

    async def use(self, args: dict[str, Any]) -> ToolOutcome:
        """List."""
        limit = args.get("limit", DEFAULT_LIMIT_OF_LS)

        spot = await self.place.spot(args.get("path", "."))
        listing = await spot.list(MAX_ENTRIES)
        names = sorted((_shown(*entry) for entry in listing.entries), key=str.casefold)
        is_complete = listing.is_complete
        if not names:
            return ToolOutcome("(the directory is empty)")
        text = "\n".join(names[:limit])
        if len(names) > limit or not is_complete:
            more = f"{len(names) - limit}" if is_complete else "very many"
            text += f"\n\n[{more} more entries; a larger limit or a narrower path shows them]"
        return ToolOutcome(clipped(text, max_lines=20_000))


def _shown(name: str, kind: FileKind) -> str:
    # A name may hold anything: it must not look like two, nor be more than text.
    name = name.encode("utf-8", "replace").decode()
    mark = {"link": "@", "directory": "/"}.get(kind, "")
    return (name if name.isprintable() else repr(name)) + mark
