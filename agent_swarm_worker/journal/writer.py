"""Writes session journals: `Journal` one file, `SessionJournal` the files of a session.

Each append is one ``write(2)`` on a file opened with ``O_APPEND``, so that a kill loses no line
that was appended, and two writers do not overwrite each other.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import orjson

from agent_swarm_worker.contract.listening import ByteRange
from agent_swarm_worker.files import make_private_dir
from agent_swarm_worker.journal.limit import JournalLimit
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from agent_swarm_worker.contract.listening import SessionSink
    from agent_swarm_worker.journal.limit import Weight

Checkpoint: TypeAlias = "Callable[[int, int], None]"
MAX_HELD_BYTES = 32 * 1024 * 1024
"""Of all journals of the process, while the disk accepts no writes."""
MAX_RANGE_BYTES = 1024 * 1024
"""A range that a sink gets is longer only if a single line is."""
EMPTY = ByteRange(0, 0)
_BLOCK_BYTES = 1024 * 1024


def make_durable(path: Path) -> None:
    """Call fsync on a journal. Blocks: call it in a thread. Never raises."""
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


class Journal:
    """Appends lines to one file. Not for concurrent use.

    The file and its directory are created with the first line. The sink gets the ranges of written
    lines, and the lines that neither disk nor memory hold; without a sink those are lost.
    """

    held_by_all_bytes: ClassVar[int] = 0

    def __init__(
        self, path: Path, *, log: Log | None = None, sink: SessionSink | None = None
    ) -> None:
        self.path = path
        self._sink = sink
        self._log = log or Log()
        self._file = -1
        self._held = bytearray()
        self._counted = 0
        """Bytes of `_held` that are included in `held_by_all_bytes`."""
        self._lost_bytes = 0
        self._is_failing = False

    @classmethod
    def begin(cls, path: Path, head: dict[str, Any], *, log: Log | None = None) -> int:
        """Create the file with its first record; return the record's length, 0 if not written."""
        journal = cls(path, log=log)
        record = orjson.dumps(head, default=str)
        journal.append([record])
        return len(record) + 1 if journal.close() else 0

    def append(self, records: Sequence[bytes], checkpoint: Checkpoint | None = None) -> ByteRange:
        """Write complete lines, given without their newline. Never raises.

        `checkpoint` is called before the write, with the length of the file before and after it.
        Lines that were held in memory are included, also in the range that is returned. That is
        empty if nothing was written: then the range of a later call may include these lines.
        """
        if not records and checkpoint is None:
            return EMPTY
        status = self._status()
        if records:
            self._held += b"\n".join(records)
            self._held += b"\n"
        if checkpoint is not None and isinstance(status, os.stat_result):
            checkpoint(status.st_size, status.st_size + len(self._held))
        return self._flush(status) if records else EMPTY

    def close(self) -> bool:
        """Write the held lines if possible, and close the file; false if lines are lost."""
        if self._held or self._file >= 0:
            self._flush(self._status())
        if self._held and self._sink is not None:
            self._hand_over()
        lost_bytes, self._lost_bytes = self._lost_bytes + len(self._held), 0
        if lost_bytes:
            self._warn("closed before all lines were written", lost_bytes=lost_bytes)
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

    def _flush(self, status: os.stat_result | OSError) -> ByteRange:
        """Write all held lines, or none."""
        try:
            if isinstance(status, OSError):
                raise status
            if status.st_nlink == 0:
                self._restore_deleted()
                status = os.fstat(self._file)
            written = os.write(self._file, self._held)
            if written == len(self._held):
                return self._report_written(ByteRange(status.st_size, status.st_size + written))
            # Half a line would merge with the next one, and part of the lines has no known range.
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            self._hold("disk full")
        except OSError as error:
            self._hold(error.strerror or str(error))
        return EMPTY

    def _report_written(self, written: ByteRange) -> ByteRange:
        lines = bytes(self._held) if len(self._held) > MAX_RANGE_BYTES else b""
        self._held.clear()
        self._is_failing = False
        if self._counted:
            self._count_held()
        if self._sink is not None and written.end > written.start:
            for part in _parts(written, lines):
                self._sink.wrote(part)
        return written

    def _status(self) -> os.stat_result | OSError:
        try:
            if self._file < 0:
                self._open()
            return os.fstat(self._file)
        except OSError as error:
            return error

    def _open(self) -> None:
        make_private_dir(self.path.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self.path, flags, 0o600)

    def _restore_deleted(self) -> None:
        """Restore a deleted file from the open one: parts may not be uploaded yet."""
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
        self._warn("the file was deleted; it is restored")

    def _hold(self, why: str) -> None:
        """Keep the unwritten lines as far as memory allows, and log the failure once."""
        if not self._is_failing:
            self._is_failing = True
            self._warn(why)
        self._count_held()
        too_many = Journal.held_by_all_bytes - MAX_HELD_BYTES
        if too_many > 0 and self._sink is not None:
            self._hand_over()
        elif too_many > 0:
            kept = self._held.rfind(b"\n", 0, max(0, len(self._held) - too_many)) + 1
            self._lost_bytes += len(self._held) - kept
            del self._held[kept:]
            self._count_held()

    def _hand_over(self) -> None:
        lines = bytes(self._held)
        self._held.clear()
        self._count_held()
        if self._sink is not None:
            self._sink.unwritten(lines)

    def _count_held(self) -> None:
        Journal.held_by_all_bytes += len(self._held) - self._counted
        self._counted = len(self._held)

    def _warn(self, why: str, **details: object) -> None:
        self._log.warning(Event.JOURNAL_FAILED, path=str(self.path), why=why, **details)


def _parts(written: ByteRange, lines: bytes) -> Iterator[ByteRange]:
    """Split a range at line ends; a part is longer than `MAX_RANGE_BYTES` only if a line is."""
    start, position = written.start, 0
    while written.end - start > MAX_RANGE_BYTES:
        after = lines.rfind(b"\n", position, position + MAX_RANGE_BYTES) + 1
        after = after or lines.find(b"\n", position) + 1
        yield ByteRange(start, start + after - position)
        start, position = start + after - position, after
    if start < written.end:
        yield ByteRange(start, written.end)


class SessionJournal:
    """Records one session in one or several files, with one size limit. Not for concurrent use.

    The first record of the first file is written already.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, log: Log, sink: SessionSink | None = None
    ) -> None:
        self._log, self._sink = log, sink
        self._limit = JournalLimit(max_bytes, log=log)
        self._file = Journal(path, log=log, sink=sink)

    @property
    def path(self) -> Path:
        """The file in use."""
        return self._file.path

    @property
    def is_near_limit(self) -> bool:
        """True once `admitted` must be called for each record."""
        return self._limit.is_near

    def admitted(self, record: bytes, weight: Weight) -> list[bytes]:
        """Return the records to append for a record of this weight; may be none."""
        return self._limit.admitted(record, weight)

    def append(self, records: Sequence[bytes], checkpoint: Checkpoint | None = None) -> ByteRange:
        """Write records; see `Journal.append`."""
        self._limit.count(sum(map(len, records)) + len(records))
        return self._file.append(records, checkpoint)

    def switch(self, path: Path, head: dict[str, Any]) -> None:
        """Continue in another file, which begins with this record."""
        self._file.close()
        start = Journal.begin(path, head, log=self._log)
        self._file = Journal(path, log=self._log, sink=self._sink)
        if self._sink is not None:
            self._sink.switched(path, start)

    def close(self) -> None:
        """Append the closing records of the limit, and close the file; an append reopens it."""
        if closing := self._limit.closing():
            self._file.append(closing)
        self._file.close()
