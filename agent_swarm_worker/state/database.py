"""A small SQLite file that a full or failing disk cannot turn into a stopped worker.

When the file can no longer be written, everything goes on in memory and is written back as soon as
the disk allows. What is then lost is only the safety against a crash in between, and that is said.

The SQLite file itself: its tables, how it is opened, and what can be saved of a broken one.
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.errors import StateNewer
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    def run_durably(self, statement: str, *values: object) -> None:
        """Execute one statement that is to outlive a power cut, too: it waits for the disk."""
        with self.transaction(durable=True):
            self.run(statement, *values)

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Make all that is done in the block one write: after a crash, all of it is there or none.

        It is written also if the block fails. A block within another one belongs to that, so the
        outer one says whether to wait for the disk.
        """
        self._write_back_if_due()
        if self._together is not None or self._in_memory:
            yield
            return
        if durable:
            self.run("PRAGMA synchronous = FULL")
        self.run("BEGIN")
        self._together = []
        try:
            yield
        finally:
            if self._together is not None:
                self._commit()
            if durable:
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


IN_MEMORY = ":memory:"
SCHEMA_VERSION = 3
_UNUSABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

TABLES = ("claims", "notes", "outbox")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS claims (
    task_id TEXT PRIMARY KEY,
    session_uuid TEXT NOT NULL,
    harness TEXT NOT NULL,
    iteration INTEGER NOT NULL,
    phase TEXT NOT NULL,
    started_at TEXT NOT NULL,
    log_file TEXT NOT NULL,
    log_offset INTEGER NOT NULL,
    tag TEXT NOT NULL,
    told INTEGER NOT NULL DEFAULT 0,
    handle TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane TEXT NOT NULL,
    kind TEXT NOT NULL,
    args BLOB NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0,
    uncertain INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS outbox_by_lane ON outbox (lane, id);
"""
_CHANGES = {
    1: "ALTER TABLE claims ADD COLUMN told INTEGER NOT NULL DEFAULT 0;",
    2: "ALTER TABLE claims ADD COLUMN handle TEXT NOT NULL DEFAULT '';",
}
"""By version: what makes the next version of it."""


def connect(where: str) -> sqlite3.Connection:
    """Open a database with the tables in it; one that has them already is not written to.

    Raises:
        StateNewer: a later version of the worker wrote it.
        sqlite3.Error: it cannot be opened, or is not ours.
    """
    if where != IN_MEMORY:
        # Made by us, since the library leaves the mode to the umask; its journals follow it.
        with contextlib.suppress(OSError):
            os.close(os.open(where, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            Path(where).chmod(0o600)
    connection = sqlite3.connect(where, isolation_level=None, timeout=0.5)
    try:
        # The directory is ours alone; so no shared memory is needed, which a full disk or a
        # network file system could not give.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = _checked_version(connection, where)
        connection.execute("PRAGMA journal_mode = WAL")
        # Enough to survive the death of the process; for a power cut there is `run_durably`.
        connection.execute("PRAGMA synchronous = NORMAL")
        if version != SCHEMA_VERSION:
            _migrate(connection, version)
    except BaseException:
        connection.close()
        raise
    return connection


def migrated_in_memory(where: str) -> sqlite3.Connection | None:
    """Return a copy in memory, in tables of this version, of a file of an earlier one.

    For a disk that is too full to change the tables. ``None`` if there is nothing to copy, or it
    cannot be read.
    """
    try:
        with contextlib.closing(sqlite3.connect(where, isolation_level=None, timeout=0.5)) as file:
            file.execute("PRAGMA locking_mode = EXCLUSIVE")
            version = _checked_version(file, where)
            if version not in _CHANGES:
                return None
            memory = sqlite3.connect(IN_MEMORY, isolation_level=None)
            file.backup(memory)
        _migrate(memory, version)
    except sqlite3.Error:
        return None
    return memory


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables of a version, 0 for none, to `SCHEMA_VERSION`, in one transaction."""
    steps = (_CHANGES[old] for old in range(version, SCHEMA_VERSION))
    changes = " ".join(steps) if version else _SCHEMA
    connection.executescript(f"BEGIN; {changes} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def is_broken(error: sqlite3.Error) -> bool:
    """True if the file is no database of ours, rather than out of reach just now."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _UNUSABLE


def _checked_version(connection: sqlite3.Connection, where: str) -> int:
    """Return the version of the tables, 0 if there are none.

    Raises:
        StateNewer: a later version of the worker wrote them.
        sqlite3.DatabaseError: they are not ours.
    """
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if version > SCHEMA_VERSION:
        raise StateNewer(Path(where), version, SCHEMA_VERSION)
    if version not in {0, *_CHANGES, SCHEMA_VERSION}:
        error = sqlite3.DatabaseError(f"of no version of ours ({version})")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error
    return int(version)


def copy_to_memory(source: sqlite3.Connection) -> tuple[sqlite3.Connection, bool]:
    """Return a copy in memory, and whether all of it could be read.

    What a disk that fails returns may be no database any more; then the rows that can be read are
    taken over one by one.
    """
    memory = connect(IN_MEMORY)
    with contextlib.suppress(sqlite3.Error):
        source.backup(memory)
        if memory.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]:
            return memory, True
    memory.close()
    memory = connect(IN_MEMORY)
    for table in TABLES:
        with contextlib.suppress(sqlite3.Error):
            for row in source.execute(f"SELECT * FROM {table}"):  # noqa: S608 - our own names
                places = ", ".join("?" * len(row))
                memory.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)  # noqa: S608
    return memory, False
