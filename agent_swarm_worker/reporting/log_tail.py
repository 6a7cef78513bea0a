"""Ships a growing journal as ranges of bytes.

The journal on disk is the system of record; what is handed on here is only *where* in it the new
lines are, and delivery reads them when it gets there. So neither an outage nor a flood costs
memory, and no line is lost between two flushes.

The writer tells where its lines are. A session that has a writer of its own tells nothing; its file
is looked at for whole lines at every flush.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.contract.sink import ByteRange
from agent_swarm_worker.journal.reading import end_of_last_line
from agent_swarm_worker.journal.writer import MAX_RANGE_BYTES
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FLUSH_BYTES = 512 * 1024
"""This much new text is shipped at once, whatever the timer says: about 1000 lines, a request's
worth. A request costs as much as the scrubbing of a few hundred lines."""


class LogTail:
    """A cursor over one journal, or over several that follow each other."""

    def __init__(
        self, *, path: Path, start: int, send: Callable[[Path, ByteRange], None], log: Log
    ) -> None:
        self._send, self._log = send, log
        self._path = path
        self._shipped = self._end = start
        """What lies between the two is not shipped yet."""
        self._is_told = False
        """True once a writer has told something."""
        self._has_complained = False

    def wrote(self, written: ByteRange) -> None:
        """Take notice of new lines, and ship if there are enough to be worth it."""
        self._is_told = True
        if written.end - self._shipped > MAX_RANGE_BYTES:
            self._ship()
        # Below the cursor only if somebody has cut the file short.
        self._shipped = min(self._shipped, written.start)
        self._end = written.end
        if self._end - self._shipped >= FLUSH_BYTES:
            self._ship()

    def pump(self) -> None:
        """Ship every complete line that is there."""
        if not self._is_told:
            self._look(lambda: end_of_last_line(self._path, self._end))
        self._ship()

    def finish(self) -> None:
        """Ship the rest, even a last line whose end was never written."""
        self._look(lambda: self._path.stat().st_size)
        self._ship()

    def switched(self, path: Path, start: int) -> None:
        """The session goes on in another file: end this one and go on with that."""
        self.finish()
        self._path, self._shipped, self._end = path, start, start
        self._is_told = True

    def _look(self, find_end: Callable[[], int]) -> None:
        try:
            self._end = max(self._end, find_end())
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                self._log.warning(Event.JOURNAL_FAILED, path=str(self._path), why=str(error))

    def _ship(self) -> None:
        # The cursor moves only after the queue has taken the range; a failure repeats it.
        if self._end > self._shipped:
            self._send(self._path, ByteRange(self._shipped, self._end))
            self._shipped = self._end
