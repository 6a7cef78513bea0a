"""The session's journal: JSON lines on disk, the system of record of a run.

Each append is one ``write(2)`` on a file opened with ``O_APPEND``, so a killed worker loses nothing
it has taken in, and two writers (the runner's metadata line, the session) never overlay each other.
The file only ever ends at the end of a line. A full disk, or a directory that cannot be written,
delays lines in memory instead of ending the session. All journals of the process share that memory;
what does not fit any more, or is still held at the end, goes its own way to the API.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import orjson

from agent_swarm_worker.atomic import make_private_dir
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HandOver: TypeAlias = "Callable[[int, int], None]"
MAX_HELD_BYTES = 32 * 1024 * 1024
"""How much all journals of the process together keep in memory while the disk takes nothing."""
_BLOCK_BYTES = 1024 * 1024


def make_durable(path: Path) -> None:
    """Have a journal outlive a power cut. Blocks: call it in a thread. Never raises."""
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


class Journal:
    """Appends lines to one file. Not for concurrent use.

    Args:
        path: of the file; it and its directory are made at the first line.
        log: where failures are told, once each.
        unwritten: takes the lines that the disk does not take and memory does not hold; without it
            they are lost, and counted.
    """

    held_by_all_bytes: ClassVar[int] = 0

    def __init__(
        self,
        path: Path,
        *,
        log: Log | None = None,
        unwritten: Callable[[bytes], None] | None = None,
    ) -> None:
        self.path = path
        self._unwritten = unwritten
        self._log = log or Log()
        self._file = -1
        self._held = bytearray()
        self._counted = 0
        """Of what is held, how much `held_by_all_bytes` knows of."""
        self._lost_bytes = 0
        self._is_failing = False

    @classmethod
    def begin(cls, path: Path, metadata: dict[str, Any], *, log: Log | None = None) -> int:
        """Create the file with its metadata record.

        Returns:
            The length of that record in bytes; 0 if the disk did not take it.
        """
        journal = cls(path, log=log)
        line = orjson.dumps(metadata, default=str)
        journal.append([line])
        return len(line) + 1 if journal.close() else 0

    def append(self, lines: Sequence[bytes], hand_over: HandOver | None = None) -> int:
        """Write complete lines, given without their newline; return their bytes. Never raises.

        Args:
            lines: none are fine, too.
            hand_over: told before anything is written how long the journal is, and how long it is
                with them, and with all that the disk has not taken yet.
        """
        length = sum(map(len, lines)) + len(lines)
        if hand_over is not None and (size := self._size()) is not None:
            hand_over(size, size + len(self._held) + length)
        if lines:
            self._held += b"\n".join(lines)
            self._held += b"\n"
            self._flush()
        return length

    def close(self) -> bool:
        """Write what is held, if the disk takes it, and close the file.

        Returns:
            True if all is written or in other hands. Never raises.
        """
        if self._held or self._file >= 0:
            self._flush()
        if self._held and self._unwritten is not None:
            self._hand_over()
        lost_bytes = self._lost_bytes + len(self._held)
        if lost_bytes:
            self._warn("closed before the disk took all of it", lost_bytes=lost_bytes)
        self._held.clear()
        self._count_held()
        if self._file >= 0:
            file, self._file = self._file, -1
            try:
                os.close(file)
            except OSError as error:  # where writes are deferred, as on network file systems
                self._warn(error.strerror or str(error))
                return False
        return not lost_bytes

    def _flush(self) -> None:
        """Write what is held: all of it, or nothing."""
        try:
            if self._file < 0:
                self._open()
            elif os.fstat(self._file).st_nlink == 0:
                self._put_back()
            written = os.write(self._file, self._held)
            if written == len(self._held):
                self._held.clear()
                self._is_failing = False
                if self._counted:
                    self._count_held()
                return
            # Half a line would swallow the next one; and a few lines of many nobody could count.
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            self._hold("disk full")
        except OSError as error:
            self._hold(error.strerror or str(error))

    def _size(self) -> int | None:
        """Return how much of the journal is on disk; ``None`` if it cannot be opened."""
        with contextlib.suppress(OSError):
            if self._file < 0:
                self._open()
            return os.fstat(self._file).st_size
        return None

    def _open(self) -> None:
        make_private_dir(self.path.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self.path, flags, 0o600)

    def _put_back(self) -> None:
        """Restore the file that somebody deleted: not all of it may have been uploaded.

        Raises:
            OSError: it cannot be now; what was in it is still there.
        """
        deleted, self._file = self._file, -1
        try:
            self._open()
            position = 0
            while block := os.pread(deleted, _BLOCK_BYTES, position):
                position += os.write(self._file, block)
        except OSError:
            if self._file >= 0:
                os.close(self._file)
                self.path.unlink(missing_ok=True)
            self._file = deleted
            raise
        os.close(deleted)
        self._warn("somebody deleted it; it is there again")

    def _hold(self, why: str) -> None:
        """Keep what was not written, as far as there is room, and say so once."""
        if not self._is_failing:
            self._is_failing = True
            self._warn(why)
        self._count_held()
        too_many = Journal.held_by_all_bytes - MAX_HELD_BYTES
        if too_many > 0 and self._unwritten is not None:
            self._hand_over()
        elif too_many > 0:
            kept = self._held.rfind(b"\n", 0, max(0, len(self._held) - too_many)) + 1
            self._lost_bytes += len(self._held) - kept
            del self._held[kept:]
            self._count_held()

    def _hand_over(self) -> None:
        """Give up recording what is held; somebody else sees that it is told."""
        lines = bytes(self._held)
        self._held.clear()
        self._count_held()
        if self._unwritten is not None:
            self._unwritten(lines)

    def _count_held(self) -> None:
        Journal.held_by_all_bytes += len(self._held) - self._counted
        self._counted = len(self._held)

    def _warn(self, why: str, **details: object) -> None:
        self._log.warning(Event.JOURNAL_FAILED, path=str(self.path), why=why, **details)
