"""Repairs the end of a journal after a kill, and resyncs its upload cursor after a power cut.

A power cut may set the upload cursor back; the upload number of the newest stored request tells how
far the server has the journal (`files`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias

from agent_swarm_worker.journal.files import possible_offsets, read_head
from agent_swarm_worker.journal.reading import end_of_last_line, read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from agent_swarm_worker.contract.guest import Unread, UnreadOutput

Unrecorded: TypeAlias = "tuple[UnreadOutput, bytes]"
"""A stream of a killed worker's session, and its output that is not in the journal."""


def cut_torn_end(journal: Path) -> None:
    """Cut off an incomplete line and zero blocks at the end of a journal.

    Raises:
        OSError: the journal cannot be changed.
    """
    end = end_of_last_line(journal, 0)
    if end < journal.stat().st_size:
        os.truncate(journal, end)


def repair(journal: Path, left: Unread) -> tuple[list[Unrecorded], list[Unrecorded]]:
    """Undo an interrupted append; return the output that is not in the journal.

    That is the rest of standard output and of standard error, for each pipe holder that has one.
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
    """A line of the session that the server has stored."""

    @property
    def iteration(self) -> int:
        """Upload number of its request."""
        ...

    @property
    def line_number(self) -> int:
        """Its index in that request."""
        ...

    @property
    def content(self) -> str:
        """Its text."""
        ...


def uploaded_end(
    path: Path,
    stored: Collection[StoredLine],
    *,
    iteration: int,
    is_same: Callable[[str, str], bool],
) -> int:
    """Return the offset behind the last stored line, 0 if that is not found in the journal.

    `stored` are the lines of this session that the server has; `is_same` compares a line of the
    journal with a stored one.

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
        # The power cut took the end of the journal.
        is_shorter = is_shorter or offsets[0] >= size
    return 0


def _end_of_request(
    path: Path,
    begin: int,
    size: int,
    request: Mapping[int, str],
    is_same: Callable[[str, str], bool],
) -> int:
    """Return the end offset of a request's lines if they begin at `begin`, else 0."""
    lines, end = read_lines(path, begin, size, len(request))
    is_found = lines and all(is_same(line, request.get(n, "")) for n, line in enumerate(lines))
    return end if is_found else 0
