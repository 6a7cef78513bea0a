"""The tools for single files: `read`, `edit` and `write`.

`read` shows a window of a text file of any size. `edit` replaces unique passages; it works on
bytes, so the rest of the file stays unchanged whatever its encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.pi.tools.base import (
    MAX_BYTES,
    MAX_LINES,
    CodingTool,
    Param,
    ToolOutcome,
    ToolRefusal,
    lock_of,
    scrubbed_part,
    size_of,
    to_utf8,
)

if TYPE_CHECKING:
    from agent_swarm_worker.contract import OpenFile
    from agent_swarm_worker.providers.pi.tools.base import ResolvedPath

SNIFF_BYTES = 8192
_CHUNK_BYTES = 1024 * 1024
_EDGE_BYTES = 16 * 1024
"""Read before and after the window, to recognise secrets across its edges."""
_COUNT_BYTES = 64 * 1024 * 1024
"""How far after the window lines are counted."""
MAX_EDIT_BYTES = 16 * 1024 * 1024
_PATH = Param("path", "string", "File, relative to the working directory or absolute", True)
_OLD = Param("oldText", "string", "Passage to replace, exactly as in the file; must be unique")
_NEW = Param("newText", "string", "What is to stand there instead")


@dataclass(frozen=True, slots=True)
class _Window:
    before: bytes
    content: bytes
    after: bytes
    lines: int
    is_cut: bool
    """The last line is not shown to its end."""
    lines_after: int
    is_counted: bool
    """`lines_after` covers the whole file, not only `_COUNT_BYTES`."""


class ReadTool(CodingTool):
    """Shows lines of a text file."""

    name = "read"
    description = (
        f"Read a text file. Shows at most {MAX_LINES} lines or {MAX_BYTES // 1024} KB at once and"
        " says how to go on; use offset and limit for the rest of a large file."
    )
    params = (
        _PATH,
        Param("offset", "integer", "First line to show, counted from 1", least=1),
        Param("limit", "integer", "How many lines to show", least=1),
    )

    async def _call(self, args: dict[str, Any]) -> ToolOutcome:
        offset = args.get("offset", 1)
        limit = min(args.get("limit", MAX_LINES), MAX_LINES)

        target = await self.paths.resolve(args["path"])
        async with target.open() as file:
            window = await _read_window(file, offset, limit)
        parts = (window.before, window.content, window.after)
        text = scrubbed_part(self.redactor, *(part.decode("utf-8", "replace") for part in parts))
        text = text.removeprefix("\ufeff")
        return ToolOutcome(text + _notice(window, offset))


async def _read_window(file: OpenFile, offset: int, limit: int) -> _Window:
    if b"\0" in await file.read(SNIFF_BYTES, 0):
        raise ToolRefusal(f"it is a binary file of {size_of(file.size)}, not text")
    start = await _start_of_line(file, offset)
    edge = max(0, start - _EDGE_BYTES)
    before = await file.read(start - edge, edge)
    data = await file.read(MAX_BYTES + _EDGE_BYTES, start)
    lines = data[:MAX_BYTES].split(b"\n", limit)
    reaches_end = len(data) <= MAX_BYTES
    if len(lines) > limit or reaches_end:
        # Whole lines: as many as requested, or all.
        content = data[:MAX_BYTES]
        if len(lines) > limit:
            content = content[: len(content) - len(lines[limit])]
        is_cut = False
    else:
        # The last line does not fit; a single line that is too long is shown in part.
        whole = data.rfind(b"\n", 0, MAX_BYTES) + 1
        content, is_cut = (data[:whole], False) if whole else (data[:MAX_BYTES], True)
    end = start + len(content)
    after, is_counted = await _lines_from(file, end)
    return _Window(
        before,
        content,
        data[len(content) : len(content) + _EDGE_BYTES],
        content.count(b"\n") + (not content.endswith(b"\n") and bool(content)),
        is_cut,
        after - is_cut if after else 0,
        is_counted,
    )


async def _start_of_line(file: OpenFile, line: int) -> int:
    """Return where a line begins, counted from 1."""
    missing, position, last = line - 1, 0, b"\n"
    while missing:
        chunk = await file.read(_CHUNK_BYTES, position)
        last = chunk[-1:] or last
        ends = chunk.count(b"\n")
        if ends < missing:
            missing -= ends
            position += len(chunk)
            if not chunk:
                raise _beyond(line, line - 1 - missing + (last != b"\n"))
            continue
        index = -1
        for _ in range(missing):
            index = chunk.index(b"\n", index + 1)
        return position + index + 1
    return position


def _beyond(line: int, has: int) -> ToolRefusal:
    return ToolRefusal(f"the offset {line} is beyond the end: the file has {has} lines")


async def _lines_from(file: OpenFile, position: int) -> tuple[int, bool]:
    """Count the lines from `position` on; return the count and whether it is complete."""
    count, last, counted = 0, b"\n", 0
    while counted < _COUNT_BYTES:
        chunk = await file.read(_CHUNK_BYTES, position + counted)
        if not chunk:
            return count + (last != b"\n"), True
        count += chunk.count(b"\n")
        last = chunk[-1:]
        counted += len(chunk)
    return count, False


def _notice(window: _Window, offset: int) -> str:
    if not window.content:
        if offset > 1:
            raise _beyond(offset, offset - 1)
        return "(the file is empty)"
    notes = []
    if window.is_cut:
        notes.append(
            f"[line {offset} is longer than {MAX_BYTES // 1024} KB; the rest of it is not shown]"
        )
    if window.lines_after:
        more = f"{'' if window.is_counted else 'more than '}{window.lines_after}"
        notes.append(f"[{more} more lines; go on with offset={offset + window.lines}]")
    return "".join(f"\n\n{note}" for note in notes)


@dataclass(frozen=True, slots=True)
class _Change:
    name: str
    """Its name in error messages, such as ``edits[1].oldText``."""
    old: bytes
    new: bytes


@dataclass(frozen=True, slots=True)
class _Hit:
    start: int
    end: int
    new: bytes
    change: _Change


class EditTool(CodingTool):
    """Changes passages of a file."""

    name = "edit"
    description = (
        "Replace a passage of a file. oldText must occur exactly once, blanks and line breaks"
        " included. For several changes at once give edits; each is looked up in the file as it"
        " was, and either all are made or none."
    )
    params = (
        _PATH,
        _OLD,
        _NEW,
        Param(
            "edits",
            "array",
            "Several changes instead of oldText and newText",
            items=tuple(Param(p.name, p.kind, p.about, True) for p in (_OLD, _NEW)),
        ),
    )

    async def _call(self, args: dict[str, Any]) -> ToolOutcome:
        changes = _changes(args)
        target = await self.paths.resolve(args["path"], to_write=True)
        async with lock_of(target.path):
            lines = await _edit(target, changes)
        numbers = ", ".join(map(str, lines))
        passages = "1 passage" if len(lines) == 1 else f"{len(lines)} passages"
        return ToolOutcome(f"replaced {passages} in {self.paths.display(target)}, line {numbers}")


def _changes(args: dict[str, Any]) -> list[_Change]:
    pairs = [(f"edits[{n}]", edit) for n, edit in enumerate(args.get("edits", ()))]
    if not pairs or "oldText" in args or "newText" in args:
        for name in ("oldText", "newText"):
            if name not in args:
                raise ToolRefusal(
                    f"the argument {name} is missing; give oldText and newText, or edits"
                )
        pairs.insert(0, ("", args))
    changes = []
    for name, pair in pairs:
        label = f"{name}.oldText" if name else "oldText"
        change = _Change(label, to_utf8(pair["oldText"], label), to_utf8(pair["newText"], name))
        if not change.old:
            raise ToolRefusal(f"{label} is empty; use write to fill a file")
        if change.old == change.new:
            raise ToolRefusal(f"{label} and newText are the same")
        changes.append(change)
    return changes


async def _edit(target: ResolvedPath, changes: list[_Change]) -> list[int]:
    """Make the changes; return the numbers of their first lines."""
    content = await _content(target)
    hits = sorted((_find(content, change) for change in changes), key=lambda hit: hit.start)
    for one, other in pairwise(hits):
        if other.start < one.end:
            raise ToolRefusal(
                f"{one.change.name} and {other.change.name} overlap; make one change of them"
            )
    pieces, position = [], 0
    for hit in hits:
        pieces += [content[position : hit.start], hit.new]
        position = hit.end
    await target.replace(b"".join([*pieces, content[position:]]))
    return [content.count(b"\n", 0, hit.start) + 1 for hit in hits]


async def _content(target: ResolvedPath) -> bytes:
    async with target.open() as file:
        content = await file.read(MAX_EDIT_BYTES + 1, 0)
    if len(content) > MAX_EDIT_BYTES:
        raise ToolRefusal(f"the file is larger than {size_of(MAX_EDIT_BYTES)}; use bash")
    return content


def _find(content: bytes, change: _Change) -> _Hit:
    old, new = change.old, change.new
    crlf = content.count(b"\r\n")
    # Models write LF; in a file with CRLF both texts are meant with CRLF.
    if crlf and (crlf == content.count(b"\n") or (b"\n" in old and old not in content)):
        old, new = _with_crlf(old), _with_crlf(new)
    start = content.find(old)
    if start < 0:
        msg = f"{change.name} does not occur in the file; read it and copy the passage exactly"
        if b"[REDACTED:" in old:
            msg += ". A placeholder stands for a secret, which is what the file really has there"
        raise ToolRefusal(msg)
    if content.find(old, start + 1) >= 0:
        count = content.count(old)
        raise ToolRefusal(
            f"{change.name} occurs {max(2, count)} times; add lines around it to make it unique"
        )
    return _Hit(start, start + len(old), new, change)


def _with_crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class WriteTool(CodingTool):
    """Creates or replaces a file."""

    name = "write"
    description = (
        "Write a file: creates it, with its directories, or replaces all that is in it."
        " To change a part of a file use edit."
    )
    params = (
        _PATH,
        Param("content", "string", "All that the file is to contain", True),
    )

    async def _call(self, args: dict[str, Any]) -> ToolOutcome:
        content = to_utf8(args["content"], "content")
        target = await self.paths.resolve(args["path"], to_write=True)
        async with lock_of(target.path):
            existed = await target.replace(content)
        done = "replaced" if existed else "created"
        return ToolOutcome(f"{done} {self.paths.display(target)} ({size_of(len(content))})")
