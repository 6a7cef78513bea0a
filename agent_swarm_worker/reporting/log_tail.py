"""A cursor over a session's journal, which the reporter moves by putting ranges of bytes.

Delivery reads the lines of a range when it sends them, so neither an outage nor a flood costs
memory. The journal's writer passes the ranges; a session with a writer of its own passes none, and
its file is searched for whole lines at every flush.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.contract.listening import ByteRange
from agent_swarm_worker.journal.reading import end_of_last_line
from agent_swarm_worker.journal.writer import MAX_RANGE_BYTES
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FLUSH_BYTES = 512 * 1024
"""New text of this size, about as many lines as a request has, is put without waiting."""


class LogTail:
    """A cursor over one journal, or over several in sequence."""

    def __init__(
        self, *, path: Path, start: int, send: Callable[[Path, ByteRange], None], log: Log
    ) -> None:
        self._send, self._log = send, log
        self._path = path
        self._queued = self._end = start
        """The bytes between the two are not in the queue yet."""
        self._has_writer = False
        """True once a writer has passed a range."""
        self._has_complained = False

    def wrote(self, written: ByteRange) -> None:
        """Take the range of new lines; put it if there are enough."""
        self._has_writer = True
        if written.end - self._queued > MAX_RANGE_BYTES:
            self._put_range()
        # Below the cursor only if the file was truncated.
        self._queued = min(self._queued, written.start)
        self._end = written.end
        if self._end - self._queued >= FLUSH_BYTES:
            self._put_range()

    def pump(self) -> None:
        """Put every complete line."""
        if not self._has_writer:
            self._find_end(lambda: end_of_last_line(self._path, self._end))
        self._put_range()

    def finish(self) -> None:
        """Put the rest, even a last line without an end."""
        self._find_end(lambda: self._path.stat().st_size)
        self._put_range()

    def switched(self, path: Path, start: int) -> None:
        """Finish this file and continue with another one."""
        self.finish()
        self._path, self._queued, self._end = path, start, start
        self._has_writer = True

    def _find_end(self, find_end: Callable[[], int]) -> None:
        try:
            self._end = max(self._end, find_end())
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                self._log.warning(Event.JOURNAL_FAILED, path=str(self._path), why=str(error))

    def _put_range(self) -> None:
        # The cursor moves only after the queue has taken the range; a failure repeats it.
        if self._end > self._queued:
            self._send(self._path, ByteRange(self._queued, self._end))
            self._queued = self._end
