"""Finds how much of a journal the server has, from the lines that it has stored.

After a power cut the upload cursor may have been set back. Each request says how many bytes of the
log came before it (`numbering`), so the newest stored request tells where its lines lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.journal.files import read_head
from agent_swarm_worker.journal.numbering import possible_offsets
from agent_swarm_worker.journal.reading import read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path


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
