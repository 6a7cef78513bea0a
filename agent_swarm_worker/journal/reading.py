"""Reads the lines of a journal for upload, and builds the arguments of an upload."""

from __future__ import annotations

import os
from bisect import bisect_left
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO

from agent_swarm_worker.contract.listening import ByteRange
from agent_swarm_worker.journal.files import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_PART_BYTES = 512 * 1024
"""Approximate size of one request."""
BLOCK_BYTES = 2 * MAX_PART_BYTES
_BACKWARDS_BYTES = 64 * 1024


class LineReader:
    """Reads lines of a file, or of text that is in no file, up to the offset `end`."""

    def __init__(self, source: Path | bytes, end: int) -> None:
        self._source, self._end = source, end
        self._lines: list[bytes] = []
        self._offsets: list[int] = []
        """Offset of each loaded line, and of the end of the last one."""

    def is_loaded(self, start: int) -> bool:
        """True if `read` from this offset does not read the file."""
        at = bisect_left(self._offsets, start)
        return at < len(self._lines) and self._offsets[at] == start

    def read(self, start: int, limit: int) -> tuple[list[str], int]:
        """Return at most `limit` lines from an offset on, and the offset after the last of them.

        There may be fewer: the result ends at `MAX_PART_BYTES` or at the end of a block, but has at
        least one line of any length. Blank lines are skipped, and those with zero bytes, which a
        power cut leaves.

        Raises:
            OSError: the file cannot be read.
        """
        if not self.is_loaded(start):
            self._load(start)
        lines: list[str] = []
        size = 0
        for at in range(bisect_left(self._offsets, start), len(self._lines)):
            line = self._lines[at]
            length = self._offsets[at + 1] - self._offsets[at]
            if len(lines) >= limit or (lines and size + length > MAX_PART_BYTES):
                return lines, self._offsets[at]
            if (text := line.rstrip(b"\r")) and b"\0" not in text:
                size += length
                lines.append(text.decode("utf-8", "replace"))
        return lines, self._offsets[-1]

    def _load(self, start: int) -> None:
        with self._open() as file:
            file.seek(start)
            data = _whole_lines(file, max(0, self._end - start))
        self._lines = data.split(b"\n")
        lengths = [len(line) + 1 for line in self._lines]
        lengths[-1] -= 1  # no newline follows the last piece
        if not self._lines[-1]:
            del self._lines[-1], lengths[-1]
        self._offsets = list(accumulate(lengths, initial=start))

    def _open(self) -> BinaryIO:
        if isinstance(self._source, bytes):
            return BytesIO(self._source)
        return self._source.open("rb", buffering=0)


def read_lines(source: Path | bytes, start: int, end: int, limit: int) -> tuple[list[str], int]:
    """Return lines between two offsets, and the offset after the last of them; see `LineReader`."""
    return LineReader(source, end).read(start, limit)


def end_of_last_line(path: Path, start: int) -> int:
    """Return the offset behind the last whole line of a file, at least `start`.

    Raises:
        OSError: the file cannot be read.
    """
    # Backwards, block by block: after an outage the rest can be larger than memory.
    with path.open("rb") as journal:
        end = journal.seek(0, os.SEEK_END)
        while end > start:
            begin = max(start, end - _BACKWARDS_BYTES)
            journal.seek(begin)
            found = journal.read(end - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
    return start


def split_at_lines(path: Path, whole: ByteRange, max_bytes: int) -> Iterator[ByteRange]:
    """Split a range of a file at line ends; a part is longer than `max_bytes` only if a line is.

    Raises:
        OSError: the file cannot be read.
    """
    start = whole.start
    with path.open("rb") as journal:
        while whole.end - start > max_bytes:
            journal.seek(start)
            length = journal.read(max_bytes).rfind(b"\n") + 1
            if not length:
                journal.seek(start)
                length = len(journal.readline())
            if not length:
                break  # the file is shorter than the range
            yield ByteRange(start, start + length)
            start += length
    if start < whole.end:
        yield ByteRange(start, whole.end)


def _whole_lines(file: BinaryIO, most: int) -> bytes:
    """Read whole lines: those of about one block, or a longer single one."""
    pieces: list[bytes] = []
    read = 0
    while read < most and (piece := file.read(min(BLOCK_BYTES, most - read))):
        pieces.append(piece)
        read += len(piece)
        if read >= BLOCK_BYTES and b"\n" in piece:
            break
    data = b"".join(pieces)
    return data if read >= most else data[: data.rfind(b"\n") + 1] or data


def upload_args(
    *, task_id: str | None, session_uuid: str, number: int, harness: str
) -> dict[str, Any]:
    """Return the arguments of every upload; `number` comes from `files.number`."""
    return {"task_id": task_id, "session_uuid": session_uuid, "iteration": number, "cli": harness}


def range_args(path: Path, lines: ByteRange) -> dict[str, Any]:
    """Return the arguments for lines of a file."""
    return {"path": str(path), "start": lines.start, "end": lines.end}


def text_args(lines: bytes) -> dict[str, Any]:
    """Return the arguments for lines that are in no file."""
    return {"text": lines.decode("utf-8", "replace")}


def joined(args: Mapping[str, Any], following: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return two uploads joined; ``None`` if they are not adjacent ranges of one file."""
    try:
        continued = {
            **args,
            "start": args["end"],
            "end": following["end"],
            "iteration": number(args["iteration"], args["end"] - args["start"]),
        }
    except (KeyError, TypeError):
        return None
    return {**args, "end": following["end"]} if continued == following else None
