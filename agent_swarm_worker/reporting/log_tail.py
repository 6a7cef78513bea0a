"""Ships a growing journal as ranges of bytes.

The journal on disk is the system of record; what is handed on here is only *where* in it the new
lines are, and delivery reads them when it gets there. So neither an outage nor a flood costs
memory, and no line is lost between two flushes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FLUSH_BYTES = 512 * 1024
"""This much new text is shipped at once, whatever the timer says: about 1000 lines, a request's
worth. A request costs as much as the scrubbing of a few hundred lines."""
BLOCK_BYTES = 64 * 1024
MAX_RANGE_BYTES = 1024 * 1024
"""No range is much longer, unless a single line is."""


class LogTail:
    """A cursor over one journal, or over several that follow each other."""

    def __init__(
        self, *, path: Path, start: int, send: Callable[[Path, int, int], None], log: Log
    ) -> None:
        self._send, self._log = send, log
        self._begin(path, start)

    def _begin(self, path: Path, start: int) -> None:
        self._path = path
        self._shipped = start
        self._whole = start
        """Where the last complete line ends."""
        self._scanned = start
        """How far the file has been read: an endless line is not read again at every tick."""
        self._noticed = 0
        self._complained = False

    def noticed(self, size: int) -> None:
        """Count `size` more bytes as written, and ship if that is enough to be worth it."""
        self._noticed += size
        if self._noticed >= FLUSH_BYTES:
            self.pump()

    def pump(self) -> None:
        """Ship every complete line that is there."""
        self._noticed = 0
        try:
            self._scan()
        except OSError as error:
            if not self._complained:
                self._complained = True
                self._log.warning(Event.JOURNAL_FAILED, path=str(self._path), why=str(error))
        self._ship()

    def finish(self) -> None:
        """Ship the rest, even a last line whose end was never written."""
        self.pump()
        self._whole = self._scanned
        self._ship()

    def switch(self, path: Path, start: int) -> None:
        """The session goes on in another file: end this one and follow that."""
        self.finish()
        self._begin(path, start)

    def _scan(self) -> None:
        with self._path.open("rb") as journal:
            journal.seek(self._scanned)
            while block := journal.read(BLOCK_BYTES):
                last_end = block.rfind(b"\n") + 1
                if last_end:
                    self._whole = self._scanned + last_end
                self._scanned += len(block)
                if self._whole - self._shipped >= MAX_RANGE_BYTES:
                    self._ship()

    def _ship(self) -> None:
        # The cursor moves only after the queue has taken the range; a failure repeats it.
        if self._whole > self._shipped:
            self._send(self._path, self._shipped, self._whole)
            self._shipped = self._whole
