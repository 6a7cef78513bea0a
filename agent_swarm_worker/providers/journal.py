"""The session's journal: JSON lines on disk, the system of record of a run.

Each append is one ``write(2)`` on a file opened with ``O_APPEND``, so a killed worker loses nothing
it has taken in, and two writers (the runner's metadata line, the session) never overlay each other.
The file only ever ends at the end of a line. A full disk, or a directory that cannot be written,
delays lines in memory, up to a limit, instead of ending the session.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.atomic import make_private_dir
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_HELD_BYTES = 32 * 1024 * 1024
"""How much is kept in memory while the disk takes nothing."""


def make_durable(path: Path) -> None:
    """Have a journal outlive a power cut. Blocks: call it in a thread. Never raises."""
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


class Journal:
    """Appends lines to one file. Not for concurrent use."""

    def __init__(self, path: Path, *, log: Log | None = None) -> None:
        self.path = path
        self._log = log or Log()
        self._file = -1
        self._held = bytearray()
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

    def append(self, lines: Sequence[bytes]) -> None:
        """Write complete lines, given without their newline. Never raises."""
        if lines:
            self._held += b"\n".join(lines) + b"\n"
            self._flush()

    def close(self) -> bool:
        """Write what is held, if the disk takes it, and close the file; true if all is written.

        Never raises.
        """
        if self._held:
            self._flush()
        lost_bytes = self._lost_bytes + len(self._held)
        if lost_bytes:
            self._warn("closed before the disk took all of it", lost_bytes=lost_bytes)
        self._held.clear()
        if self._file >= 0:
            file, self._file = self._file, -1
            try:
                os.close(file)
            except OSError as error:  # where writes are deferred, as on network file systems
                self._warn(error.strerror or str(error))
                return False
        return not lost_bytes

    def _flush(self) -> None:
        """Write what is held, all or nothing."""
        try:
            if self._file < 0:
                self._open()
            written = os.write(self._file, self._held)
            if written == len(self._held):
                self._held.clear()
                self._is_failing = False
                return
            # Half a line would swallow the beginning of the next one.
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            self._hold("disk full")
        except OSError as error:
            self._hold(error.strerror or str(error))

    def _open(self) -> None:
        make_private_dir(self.path.parent)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self.path, flags, 0o600)

    def _hold(self, why: str) -> None:
        """Keep what was not written, as far as there is room, and say so once."""
        if len(self._held) > MAX_HELD_BYTES:
            kept = self._held.rfind(b"\n", 0, MAX_HELD_BYTES) + 1
            self._lost_bytes += len(self._held) - kept
            del self._held[kept:]
        if not self._is_failing:
            self._is_failing = True
            self._warn(why)

    def _warn(self, why: str, **details: object) -> None:
        self._log.warning(Event.JOURNAL_FAILED, path=str(self.path), why=why, **details)
