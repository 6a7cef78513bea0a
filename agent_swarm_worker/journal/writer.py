"""The session's journal: JSON lines on disk, the system of record of a run.

Each append is one ``write(2)`` on a file opened with ``O_APPEND``, so a killed worker loses nothing
it has taken in, and two writers (the runner's metadata line, the session) never overlay each other.
The file only ever ends at the end of a line. A full disk, or a directory that cannot be written,
delays lines in memory instead of ending the session. All journals of the process share that memory;
what does not fit any more, or is still held at the end, goes its own way to the API.

The record of one session: its files, one after the other, and one size limit over them.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from agent_swarm_worker.contract.listening import ByteRange
from agent_swarm_worker.files import make_private_dir
from agent_swarm_worker.journal.files import encode_head
from agent_swarm_worker.journal.limit import JournalLimit
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from agent_swarm_worker.contract.listening import SessionSink
    from agent_swarm_worker.journal.limit import Weight

Checkpoint: TypeAlias = "Callable[[int, int], None]"
MAX_HELD_BYTES = 32 * 1024 * 1024
"""How much all journals of the process together keep in memory while the disk takes nothing."""
MAX_RANGE_BYTES = 1024 * 1024
"""No range that a sink is told is longer, unless a single line is."""
NOTHING = ByteRange(0, 0)
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
        sink: told where lines are once they are on disk, and given those that the disk does not
            take and memory does not hold; without one these are lost, and counted.
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
        """Of what is held, how much `held_by_all_bytes` knows of."""
        self._lost_bytes = 0
        self._is_failing = False

    @classmethod
    def begin(cls, path: Path, head: dict[str, Any], *, log: Log | None = None) -> int:
        """Create the file with its first record.

        Returns:
            The length of that record in bytes; 0 if the disk did not take it.
        """
        journal = cls(path, log=log)
        record = encode_head(head)
        journal.append([record])
        return len(record) + 1 if journal.close() else 0

    def append(self, records: Sequence[bytes], checkpoint: Checkpoint | None = None) -> ByteRange:
        """Write complete lines, given without their newline. Never raises.

        Args:
            records: none are fine, too.
            checkpoint: told before anything is written how long the file is, and how long it is
                with them, and with all that the disk has not taken yet.

        Returns:
            Where the file has them, together with those that the disk had not taken before. Empty
            if it takes none now: they are held, and a later call, or none, has their range.
        """
        if not records and checkpoint is None:
            return NOTHING
        status = self._status()
        if records:
            self._held += b"\n".join(records)
            self._held += b"\n"
        if checkpoint is not None and isinstance(status, os.stat_result):
            checkpoint(status.st_size, status.st_size + len(self._held))
        return self._flush(status) if records else NOTHING

    def close(self) -> bool:
        """Write what is held, if the disk takes it, and close the file.

        Returns:
            True if all is written or in other hands. Never raises.
        """
        if self._held or self._file >= 0:
            self._flush(self._status())
        if self._held and self._sink is not None:
            self._give_up()
        lost_bytes, self._lost_bytes = self._lost_bytes + len(self._held), 0
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

    def _flush(self, status: os.stat_result | OSError) -> ByteRange:
        """Write what is held: all of it, or nothing."""
        try:
            if isinstance(status, OSError):
                raise status
            if status.st_nlink == 0:
                self._put_back()
                status = os.fstat(self._file)
            written = os.write(self._file, self._held)
            if written == len(self._held):
                return self._recorded(ByteRange(status.st_size, status.st_size + written))
            # Half a line would swallow the next one; and a few lines of many nobody could count.
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            self._hold("disk full")
        except OSError as error:
            self._hold(error.strerror or str(error))
        return NOTHING

    def _recorded(self, written: ByteRange) -> ByteRange:
        """Tell the sink where the lines are that were held until now."""
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
        """Return the state of the file, or why it cannot be opened."""
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
        if too_many > 0 and self._sink is not None:
            self._give_up()
        elif too_many > 0:
            kept = self._held.rfind(b"\n", 0, max(0, len(self._held) - too_many)) + 1
            self._lost_bytes += len(self._held) - kept
            del self._held[kept:]
            self._count_held()

    def _give_up(self) -> None:
        """Give up recording what is held: the sink sees that it is uploaded all the same."""
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
    """Divide a range at line ends, so that no part is long unless one line is.

    Args:
        written: the range.
        lines: what it has; not needed if it is not long.
    """
    start, position = written.start, 0
    while written.end - start > MAX_RANGE_BYTES:
        after = lines.rfind(b"\n", position, position + MAX_RANGE_BYTES) + 1
        after = after or lines.find(b"\n", position) + 1
        yield ByteRange(start, start + after - position)
        start, position = start + after - position, after
    if start < written.end:
        yield ByteRange(start, written.end)


class SessionJournal:
    """Records one session. Not for concurrent use.

    Args:
        path: of the first file, which has its first record already, if it is to have one.
        max_bytes: about how much is recorded; see `limit`.
        log: the session's log.
        sink: told of what is recorded; see `writer.Journal`.
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
        """True once records have to be weighed, and `admitted`, before they are appended."""
        return self._limit.is_near

    def admitted(self, record: bytes, weight: Weight) -> list[bytes]:
        """Return what is to be appended for a record of this weight, perhaps nothing."""
        return self._limit.admitted(record, weight)

    def append(self, records: Sequence[bytes], checkpoint: Checkpoint | None = None) -> ByteRange:
        """Write records; see `writer.Journal.append`."""
        self._limit.took(sum(map(len, records)) + len(records))
        return self._file.append(records, checkpoint)

    def switch(self, path: Path, head: dict[str, Any]) -> None:
        """Go on in another file, which begins with this record."""
        self._file.close()
        start = Journal.begin(path, head, log=self._log)
        self._file = Journal(path, log=self._log, sink=self._sink)
        if self._sink is not None:
            self._sink.switched(path, start)

    def close(self) -> None:
        """End the record, with a note on what the limit left out of it. A later append reopens."""
        if closing := self._limit.closing():
            self._file.append(closing)
        self._file.close()
