"""What a command printed: the beginning and the end in memory, all of it in a file."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO

from agent_swarm_worker.providers.pi.tools.limits import MAX_BYTES, clipped, size_of

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES = 64 * 1024 * 1024


class Output:
    """Takes scrubbed output of any length, in little memory.

    Args:
        path: the file for all of it, made with mode 0600 when there is more than can be shown.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._head = bytearray()
        self._tail = bytearray()
        self._file: BinaryIO | None = None
        self._size = 0
        self._in_file = 0
        self._is_lost = False
        """The file could not be written, or not further."""

    def take(self, data: bytes) -> None:
        """Take the next bytes."""
        self._size += len(data)
        if self._size > MAX_BYTES:
            self._save(data)
        room = MAX_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * MAX_BYTES:
            del self._tail[:-MAX_BYTES]

    def text(self) -> str:
        """Close the file and return what a model is shown. Called once, at the end."""
        whole = _text(self._head + self._tail).rstrip()
        dropped = self._size - len(self._head) - len(self._tail)
        shown = clipped(whole, dropped=dropped)
        if self._size and shown != whole and self._file is None:
            self._save(b"")  # few bytes in many lines: they are all still at hand
        if self._file is not None:
            with contextlib.suppress(OSError):  # each write was flushed
                self._file.close()
        return shown if shown == whole else f"{shown}\n\n[{self._where()}]"

    def _where(self) -> str:
        if self._file is None:
            return f"{size_of(self._size)} in all, for which no file could be written"
        if self._is_lost:
            return f"{self._path} has the first part of {size_of(self._size)} in all"
        return f"{self._path} has all {size_of(self._size)} of it"

    def _save(self, data: bytes) -> None:
        if self._is_lost:
            return
        try:
            if self._file is None:
                self._file = _private(self._path)
                data = bytes(self._head) + data
            room = MAX_FILE_BYTES - self._in_file
            self._file.write(data[:room])
            self._file.flush()
            self._in_file += min(len(data), room)
            self._is_lost = len(data) > room
        except OSError:
            self._is_lost = True


def _private(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "replace")
