"""Repairs the end of a journal whose worker was killed, and finds what is not in it yet.

Finds how much of a journal the server has, from the lines that it has stored.

After a power cut the upload cursor may have been set back. Each request says how many bytes of the
log came before it (`numbering`), so the newest stored request tells where its lines lie.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias

from agent_swarm_worker.journal.files import possible_offsets, read_head
from agent_swarm_worker.journal.reading import read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from agent_swarm_worker.contract.guest import Unread, UnreadOutput

Unrecorded: TypeAlias = "tuple[UnreadOutput, bytes]"
"""A stream of a killed worker's session, and what was read from it and is not in the journal."""
_BLOCK_BYTES = 64 * 1024


def cut_torn_end(journal: Path) -> None:
    """Cut off half a line at the end, and blocks that a disk had promised and not been given.

    Raises:
        OSError: the journal cannot be changed.
    """
    with journal.open("r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - _BLOCK_BYTES)
            file.seek(begin)
            block = file.read(end - begin).rstrip(b"\0")
            if newline := block.rfind(b"\n") + 1:
                end = begin + newline
                break
            end = begin
        if end < size:
            file.truncate(end)


def repair(journal: Path, left: Unread) -> tuple[list[Unrecorded], list[Unrecorded]]:
    """Undo an append that was cut short, and find what is not in the journal.

    Returns:
        What is left of standard output and of standard error, of each keeper, where there is any.
    """
    with suppress(OSError):
        cut_torn_end(journal)
        size = journal.stat().st_size
        for stream in (*left.stdout, *left.stderr):
            write_intent = stream.write_intent
            if (
                write_intent is not None
                and write_intent.journal_begin < size < write_intent.journal_end
            ):
                os.truncate(journal, write_intent.journal_begin)
                size = write_intent.journal_begin
    size = journal.stat().st_size if journal.is_file() else 0
    return _unrecorded(left.stdout, size), _unrecorded(left.stderr, size)


def _unrecorded(streams: Sequence[UnreadOutput], size: int) -> list[Unrecorded]:
    rests = [(stream, stream.unjournaled(size)) for stream in streams]
    return [(stream, rest) for stream, rest in rests if rest]


class StoredLine(Protocol):
    """A line of the session as the server keeps it."""

    @property
    def iteration(self) -> int:
        """Number of the request it came in."""
        ...

    @property
    def line_number(self) -> int:
        """Its place in that request."""
        ...

    @property
    def content(self) -> str:
        """What it says."""
        ...


def uploaded_end(
    path: Path,
    stored: Collection[StoredLine],
    *,
    iteration: int,
    is_same: Callable[[str, str], bool],
) -> int:
    """Return the offset behind the last stored line, 0 if it is not to be found in the journal.

    Args:
        path: of the journal.
        stored: lines of this session that the server has.
        iteration: of the session.
        is_same: told a line and what is stored in its place, says whether that may be the line.

    Raises:
        OSError: the journal cannot be read.
    """
    size, head_bytes, is_shorter = path.stat().st_size, read_head(path).size, False
    for number in sorted({row.iteration for row in stored}, reverse=True):
        request = {row.line_number: row.content for row in stored if row.iteration == number}
        offsets = tuple(possible_offsets(number, iteration=iteration, head_bytes=head_bytes))
        for begin in offsets:
            if head_bytes <= begin < size and (
                end := _end_of_request(path, begin, size, request, is_same)
            ):
                return size if is_shorter else end
        # The disk had not been given the end of what was said.
        is_shorter = is_shorter or offsets[0] >= size
    return 0


def _end_of_request(
    path: Path,
    begin: int,
    size: int,
    request: Mapping[int, str],
    is_same: Callable[[str, str], bool],
) -> int:
    """Return where the lines of a request end if they begin there, else 0."""
    lines, end = read_lines(path, begin, size, len(request))
    is_there = lines and all(is_same(line, request.get(n, "")) for n, line in enumerate(lines))
    return end if is_there else 0
