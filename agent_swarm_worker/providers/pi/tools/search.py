"""The tools `grep`, `find` and `ls`.

Searches run in `search_child`, a process of their own, with limits of time and output; cancelling
ends it.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from agent_swarm_worker.contract import NO_GRACE, Command
from agent_swarm_worker.processes.pipes import LineFramer, drain, pump
from agent_swarm_worker.providers.pi.tools import search_child
from agent_swarm_worker.providers.pi.tools.base import (
    CodingTool,
    Param,
    ToolOutcome,
    ToolRefusal,
    clipped,
    to_utf8,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Guest, Process, Redactor
    from agent_swarm_worker.contract.guest import FileKind
    from agent_swarm_worker.providers.pi.tools.base import PathResolver, ResolvedPath

SEARCH_S = 30.0
"""Time limit of a search; results until then are shown."""
FILE_S = 2.0
"""Time limit for one file."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
GREP_LIMIT = 100
FIND_LIMIT = 1000
LS_LIMIT = 500
MAX_LINE_CHARS = 500
MAX_ENTRIES = 100_000
"""Entries of a directory that are read before they are sorted."""
_MAX_LINE_BYTES = 1024 * 1024


@dataclass(slots=True)
class Findings:
    """The result of a search."""

    lines: list[list[Any]]
    is_complete: bool = False
    """The search ended by itself: all was searched, or the limit was reached."""


@dataclass(slots=True, eq=False)
class Searcher:
    """Runs searches, each in a process of its own."""

    guest: Guest
    clock: Clock
    search_s: float = SEARCH_S
    file_s: float = FILE_S
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def search(self, target: ResolvedPath, **request: Any) -> Findings:
        """Search below a path; raise `ToolRefusal` or `ProviderError` if that is not possible."""
        message = {"root": target.root, "parts": target.parts, "file_s": self.file_s, **request}
        findings = Findings([])
        python = self.guest.capabilities.python
        if python is None:
            raise ToolRefusal("there is no Python where this session runs; use bash")
        command = Command(
            argv=(python, "-I", "-S", "-B", "-X", "utf8", "-c", _program()),
            cwd=PurePosixPath("/"),
            env={},
            name=f"search-{next(self._numbers)}",
            stdin=True,
        )
        async with await self.guest.start(command) as child:
            try:
                await self._exchange(child, orjson.dumps(message), findings)
            finally:
                with anyio.CancelScope(shield=True):
                    await self.guest.end(child, NO_GRACE)
        for line in findings.lines:
            if line[0] == "error":
                raise ToolRefusal(line[1])
        return findings

    async def _exchange(self, child: Process, request: bytes, findings: Findings) -> None:
        framer = LineFramer(_MAX_LINE_BYTES)
        size = 0

        async def stop_in_time(scope: anyio.CancelScope) -> None:
            await self.clock.sleep(self.search_s)
            scope.cancel()

        async with anyio.create_task_group() as tasks:

            def on_chunk(chunk: bytes) -> None:
                nonlocal size
                size += len(chunk)
                for line in framer.feed(chunk):
                    record = orjson.loads(line)
                    if record == ["end"]:
                        findings.is_complete = True
                    else:
                        findings.lines.append(record)
                if size > MAX_ANSWER_BYTES:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(stop_in_time, tasks.cancel_scope)
            await child.send(request)
            await child.close_stdin()
            await drain(child.wait, lambda: pump(child.stdout, on_chunk), clock=self.clock)
            tasks.cancel_scope.cancel()


@functools.cache
def _program() -> str:
    """Return the source of `search_child`, since a guest does not have the worker's files."""
    return Path(search_child.__file__).read_text(encoding="utf-8")


class _SearchTool(CodingTool):
    def __init__(self, paths: PathResolver, redactor: Redactor, searcher: Searcher) -> None:
        super().__init__(paths, redactor)
        self._searcher = searcher

    def _notes(self, findings: Findings, more: str) -> list[str]:
        """Return notes on missing results; `more` says that there are more than the limit."""
        notes = [f"[{more}; narrow the search or raise limit]"] if more else []
        if not findings.is_complete:
            seconds = self._searcher.search_s
            notes.append(f"[not everything was searched: stopped after {seconds:g} s]")
        return notes


class GrepTool(_SearchTool):
    """Searches the contents of files."""

    name = "grep"
    description = (
        "Search file contents for a regular expression (Python's re), line by line. Answers with"
        " path:line: text. Skips binary files, links, node_modules and the folders of version"
        f" control; shows {GREP_LIMIT} matches unless limit says otherwise."
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

    async def _call(self, args: dict[str, Any]) -> ToolOutcome:
        for name in ("pattern", "glob"):
            to_utf8(args.get(name, ""), name)
        limit = args.get("limit", GREP_LIMIT)
        target = await self.paths.resolve(args.get("path", "."))
        findings = await self._searcher.search(
            target,
            mode="grep",
            pattern=args["pattern"],
            glob=args.get("glob", ""),
            ignore_case=args.get("ignoreCase", False),
            literal=args.get("literal", False),
            context=args.get("context", 0),
            limit=limit,
        )
        lines, has_more = self._format(findings, target, limit)
        slow = [line[1] for line in findings.lines if line[0] == "slow"][:10]
        notes = [
            f"[{self.paths.display_below(target, path)} left out: the pattern takes too long in it]"
            for path in slow
        ]
        notes += self._notes(findings, f"more than {limit} matches" if has_more else "")
        body = "\n".join(lines) or "no matches"
        return ToolOutcome("\n\n".join([clipped(body, max_lines=50_000), *notes]))

    def _format(
        self, findings: Findings, target: ResolvedPath, limit: int
    ) -> tuple[list[str], bool]:
        """Return the lines for the model, and whether there are more matches than the limit."""
        shown: list[str] = []
        matches, last = 0, ("", 0)
        has_context = any(line[0] == "around" for line in findings.lines)
        for kind, *rest in findings.lines:
            if kind not in {"match", "around"}:
                continue
            path, number, text = self.paths.display_below(target, rest[0]), *rest[1:]
            matches += kind == "match"
            if matches > limit:
                return shown, True
            # Gaps are marked only if context lines are shown.
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


class FindTool(_SearchTool):
    """Finds files by their names."""

    name = "find"
    description = (
        "Find files and directories by a shell pattern. Without a slash the pattern is for names"
        " (*.py), with one for paths below the start (src/**/test_*.py); ** spans directories."
        " Skips node_modules and the folders of version control, follows no links; shows"
        f" {FIND_LIMIT} paths unless limit says otherwise."
    )
    params = (
        Param("pattern", "string", "Shell pattern, such as *.py or **/*.{ts,tsx}", True),
        Param("path", "string", "Where to start; the working directory by default"),
        Param("limit", "integer", "How many paths to show", least=1, most=10_000),
    )

    async def _call(self, args: dict[str, Any]) -> ToolOutcome:
        to_utf8(args["pattern"], "pattern")
        limit = args.get("limit", FIND_LIMIT)
        target = await self.paths.resolve(args.get("path", "."))
        findings = await self._searcher.search(
            target, mode="find", pattern=args["pattern"], limit=limit
        )
        paths = [
            self.paths.display_below(target, line[1])
            for line in findings.lines
            if line[0] == "path"
        ]
        notes = self._notes(findings, f"more than {limit} paths" if len(paths) > limit else "")
        shown = [path if path.isprintable() else repr(path) for path in paths[:limit]]
        body = "\n".join(shown) or "nothing matches"
        return ToolOutcome("\n\n".join([clipped(body, max_lines=20_000), *notes]))


class LsTool(CodingTool):
    """Lists a directory."""

    name = "ls"
    description = (
        "List a directory, in alphabetical order and with hidden files. Directories end in /,"
        f" links in @. Shows {LS_LIMIT} entries unless limit says otherwise."
    )
    params = (
        Param("path", "string", "Directory; the working directory by default"),
        Param("limit", "integer", "How many entries to show", least=1, most=10_000),
    )

    async def _call(self, args: dict[str, Any]) -> ToolOutcome:
        limit = args.get("limit", LS_LIMIT)
        target = await self.paths.resolve(args.get("path", "."))
        listing = await target.list(MAX_ENTRIES)
        names = sorted((_display_name(*entry) for entry in listing.entries), key=str.casefold)
        is_complete = listing.is_complete
        if not names:
            return ToolOutcome("(the directory is empty)")
        text = "\n".join(names[:limit])
        if len(names) > limit or not is_complete:
            more = f"{len(names) - limit}" if is_complete else "very many"
            text += f"\n\n[{more} more entries; a larger limit or a narrower path shows them]"
        return ToolOutcome(clipped(text, max_lines=20_000))


def _display_name(name: str, kind: FileKind) -> str:
    # A name may contain line breaks and bytes that are not UTF-8.
    name = name.encode("utf-8", "replace").decode()
    mark = {"link": "@", "directory": "/"}.get(kind, "")
    return (name if name.isprintable() else repr(name)) + mark
