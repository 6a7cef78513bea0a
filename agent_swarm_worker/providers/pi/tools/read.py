"""The tool `read`: show a window of a text file of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.pi.tools.base import (
    MAX_BYTES,
    MAX_LINES,
    CodingTool,
    Param,
    ToolOutcome,
    ToolRefusal,
    scrubbed_part,
    size_of,
)

if TYPE_CHECKING:
    from agent_swarm_worker.contract import OpenFile

SNIFF_BYTES = 8192
_CHUNK_BYTES = 1024 * 1024
_EDGE_BYTES = 16 * 1024
"""Read before and after the window, to recognise secrets across its edges."""
_COUNT_BYTES = 64 * 1024 * 1024
"""How far after the window lines are counted."""


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
        Param("path", "string", "File, relative to the working directory or absolute", True),
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
    _refuse_binary(await file.read(SNIFF_BYTES, 0), file.size)
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


def _refuse_binary(head: bytes, size: int) -> None:
    if b"\0" in head:
        raise ToolRefusal(f"it is a binary file of {size_of(size)}, not text")


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
