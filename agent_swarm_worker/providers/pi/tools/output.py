"""What a command printed: the beginning and the end in memory, all of it in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.providers.pi.tools.limits import MAX_BYTES, clipped, size_of

if TYPE_CHECKING:
    from pathlib import PurePath

    from agent_swarm_worker.contract import AppendFile, Guest

MAX_FILE_BYTES = 64 * 1024 * 1024


class Output:
    """Takes scrubbed output of any length, in little memory.

    Args:
        guest: where the file is.
        path: the file for all of it, made with mode 0600 when there is more than can be shown.
    """

    def __init__(self, guest: Guest, path: PurePath) -> None:
        self._guest, self._path = guest, path
        self._head = bytearray()
        self._tail = bytearray()
        self._unsaved = bytearray()
        """What belongs in the file and is not there yet."""
        self._file: AppendFile | None = None
        self._size = 0
        self._in_file = 0
        self._is_lost = False
        """The file could not be written, or not further."""

    def take(self, data: bytes) -> None:
        """Take the next bytes; call `save` soon."""
        self._size += len(data)
        if not self._is_lost:
            self._unsaved += data
        room = MAX_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * MAX_BYTES:
            del self._tail[:-MAX_BYTES]

    async def save(self) -> None:
        """Write to the file what there is, if it is more than can be shown."""
        if self._size > MAX_BYTES:
            await self._save()

    async def text(self) -> str:
        """Close the file and return what a model is shown. Called once, at the end."""
        await self.save()
        whole = _text(self._head + self._tail).rstrip()
        dropped = self._size - len(self._head) - len(self._tail)
        shown = clipped(whole, dropped=dropped)
        if self._size and shown != whole and self._file is None:
            await self._save()  # few bytes in many lines: they are all still at hand
        if self._file is not None:
            await self._file.aclose()
        return shown if shown == whole else f"{shown}\n\n[{self._where()}]"

    def _where(self) -> str:
        if self._file is None:
            return f"{size_of(self._size)} in all, for which no file could be written"
        if self._is_lost:
            return f"{self._path} has the first part of {size_of(self._size)} in all"
        return f"{self._path} has all {size_of(self._size)} of it"

    async def _save(self) -> None:
        if self._is_lost:
            return
        data, self._unsaved = bytes(self._unsaved), bytearray()
        try:
            if self._file is None:
                self._file = await self._guest.files.append_to(str(self._path), create=True)
            room = MAX_FILE_BYTES - self._in_file
            await self._file.append(data[:room])
            self._in_file += min(len(data), room)
            self._is_lost = len(data) > room
        except OSError:
            self._is_lost = True


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "replace")
