"""A small SQLite file that a full or failing disk cannot turn into a stopped worker.

When the file can no longer be written, everything goes on in memory and is written back as soon as
the disk allows. What is then lost is only the safety against a crash in between, and that is said.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.swarm.sqlite_file import (
    IN_MEMORY,
    connect,
    copy_to_memory,
    is_broken,
    migrated_in_memory,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent_swarm_worker.clock import Clock

WRITE_BACK_INTERVAL_S = 30.0


class Database:
    """The worker's tables. Synchronous: a statement takes microseconds."""

    def __init__(self, path: Path, *, clock: Clock, log: Log | None = None) -> None:
        """Open `path`, or a database in memory if that is impossible just now."""
        self._path = path
        self._clock = clock
        self._log = log or Log()
        self._in_memory = False
        self._write_back_at = 0.0
        self._together: list[tuple[str, tuple[object, ...]]] | None = None
        """What was done since `together` began, to be done again elsewhere if the disk is full."""
        try:
            self._connection = connect(str(path))
        except sqlite3.Error as error:
            self._connection = connect(IN_MEMORY)
            if is_broken(error):
                self._start_afresh(error)
                return
            self._note_degraded(error)
            if path.exists() and path.stat().st_size and not self._take_over_earlier():
                # What it holds was not read, so it must not be replaced either.
                self._write_back_at = math.inf

    @property
    def is_degraded(self) -> bool:
        """True while nothing is written to disk."""
        return self._in_memory

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute one statement, durable on return unless degraded; return its rows."""
        self._write_back_if_due()
        try:
            rows = self._connection.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._go_on_elsewhere(error)
            return self._connection.execute(statement, values).fetchall()
        if self._together is not None:
            self._together.append((statement, values))
        return rows

    def run_for_good(self, statement: str, *values: object) -> None:
        """Execute one statement that is to outlive a power cut, too: it waits for the disk."""
        with self.together(for_good=True):
            self.run(statement, *values)

    @contextmanager
    def together(self, *, for_good: bool = False) -> Iterator[None]:
        """Make all that is done in the block one write: after a crash, all of it is there or none.

        It is written also if the block fails. A block within another one belongs to that, so the
        outer one says whether to wait for the disk.
        """
        self._write_back_if_due()
        if self._together is not None or self._in_memory:
            yield
            return
        if for_good:
            self.run("PRAGMA synchronous = FULL")
        self.run("BEGIN")
        self._together = []
        try:
            yield
        finally:
            if self._together is not None:
                self._commit()
            if for_good:
                self.run("PRAGMA synchronous = NORMAL")

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._go_on_elsewhere(error)
        finally:
            self._together = None

    def _go_on_elsewhere(self, error: sqlite3.DatabaseError) -> None:
        """Find another place for the tables, with everything in it that was done.

        Raises:
            sqlite3.DatabaseError: the same error, if it is not the disk's.
        """
        # The other subclasses are mistakes of ours, not of the disk.
        is_ours = type(error) not in {sqlite3.OperationalError, sqlite3.DatabaseError}
        if is_ours or self._in_memory:
            raise error
        with contextlib.suppress(sqlite3.Error):
            self._connection.rollback()
        if is_broken(error):
            self._start_afresh(error)
        else:
            self._go_on_in_memory(error)
        done, self._together = self._together or [], None
        for statement, values in done:
            self._connection.execute(statement, values)

    def close(self) -> None:
        """Close, after a last attempt to write back what is only in memory."""
        if self._in_memory and self._write_back_at < math.inf:
            self._write_back()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _start_afresh(self, error: sqlite3.Error) -> None:
        """Keep a file that is broken for whoever wants to look; go on with what can be read of it.

        On a disk that cannot rename it there would be the same file again, so then in memory.
        """
        saved, _ = copy_to_memory(self._connection)
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._set_aside(error)
        self._connection = saved
        try:
            if self._path.exists():
                raise error
            fresh = connect(str(self._path))
        except sqlite3.Error as again:
            self._note_degraded(again)
            if self._path.exists():
                self._write_back_at = math.inf
            return
        saved.backup(fresh)
        saved.close()
        self._connection = fresh

    def _take_over_earlier(self) -> bool:
        """Go on in memory with a file of an earlier version that could not be changed on disk."""
        earlier = migrated_in_memory(str(self._path))
        if earlier is None:
            return False
        self._connection.close()
        self._connection = earlier
        return True

    def _set_aside(self, error: sqlite3.Error) -> None:
        kept = self._path.with_name(f"{self._path.name}.unusable-{self._clock.now():%Y%m%dT%H%M%S}")
        self._log.warning(Event.STATE_DEGRADED, error=str(error), kept=str(kept))
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                self._path.with_name(self._path.name + suffix).replace(f"{kept}{suffix}")

    def _go_on_in_memory(self, error: sqlite3.Error) -> None:
        self._note_degraded(error)
        memory, is_whole = copy_to_memory(self._connection)
        if not is_whole:
            self._write_back_at = math.inf  # As above: it was not read.
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._connection = memory

    def _note_degraded(self, error: sqlite3.Error) -> None:
        self._in_memory = True
        self._write_back_at = self._clock.monotonic() + WRITE_BACK_INTERVAL_S
        self._log.warning(Event.STATE_DEGRADED, path=str(self._path), error=str(error))

    def _write_back_if_due(self) -> None:
        if self._in_memory and self._clock.monotonic() >= self._write_back_at:
            self._write_back()

    def _write_back(self) -> None:
        """Replace the file's content by what is in memory, and use the file again."""
        self._write_back_at = self._clock.monotonic() + WRITE_BACK_INTERVAL_S
        try:
            file = connect(str(self._path))
        except sqlite3.Error:
            return
        try:
            self._connection.backup(file)
        except sqlite3.Error:
            file.close()
            return
        self._connection.close()
        self._connection = file
        self._in_memory = False
        self._log.info(Event.STATE_DEGRADED, path=str(self._path), over=True)
