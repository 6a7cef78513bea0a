"""Bytes to lines, for lines of any length.

A newline byte ends a line and nothing else does: JSON may carry U+2028 and its like unescaped, and
text splitters take those for line ends. Lines are decoded when they are complete, so that a
character cut in two by a read is whole again.
"""

from __future__ import annotations


class LineFramer:
    """Cuts a byte stream into lines, in time linear to its length.

    Args:
        max_line_bytes: longest line delivered whole. Of a longer one the first `max_line_bytes`
            are delivered as a line, and the rest up to the newline is dropped.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_bytes = max_line_bytes
        self._kept = bytearray()
        self._size = 0
        self.oversize = 0
        """How many lines were cut."""
        self.last_oversize_bytes = 0
        """How long the last line that was cut really was."""

    @property
    def pending_bytes(self) -> int:
        """How many bytes belong to a line that is not complete yet."""
        return self._size

    @property
    def is_cutting(self) -> bool:
        """Whether that line is too long already."""
        return self._size > self._max_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the lines they complete, without their ends (LF, CRLF)."""
        *ends, rest = chunk.split(b"\n")
        lines = []
        for end in ends:
            if self._size or len(end) > self._max_bytes:
                self._keep(end)
                lines.append(self._take(complete=True))
            else:  # nearly every line begins and ends within a chunk
                lines.append(end[:-1] if end.endswith(b"\r") else end)
        self._keep(rest)
        return lines

    def close(self) -> bytes | None:
        """Return what came after the last newline, if anything: a line that was cut off."""
        return self._take(complete=False) if self._size else None

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        # One byte more than a line may have: it may be the CR that does not count.
        room = self._max_bytes + 1 - len(self._kept)
        self._kept += piece if len(piece) <= room else piece[:room]

    def _take(self, *, complete: bool) -> bytes:
        size = self._size
        if complete and size == len(self._kept) and self._kept.endswith(b"\r"):
            size -= 1
        if size > self._max_bytes:
            self.oversize += 1
            self.last_oversize_bytes = size
        # Slicing a view copies once; slicing the bytearray would copy twice.
        with memoryview(self._kept) as view:
            line = bytes(view[: min(size, self._max_bytes)])
        self._kept.clear()
        self._size = 0
        return line


def decode_line(line: bytes) -> str:
    """Decode a complete line; bytes that are not UTF-8 become U+FFFD."""
    return line.decode("utf-8", "replace")
