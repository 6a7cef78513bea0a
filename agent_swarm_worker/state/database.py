"""Stores the worker's tables in an SQLite file, and over a full or failing disk in memory.

They are written back once the disk allows that. A crash in between loses the changes, so the
degraded state is logged. A broken file is renamed, and its readable rows are copied to a new one.
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
    """The worker's tables. Calls block; a statement takes microseconds."""

    def __init__(self, path: Path, *, clock: Clock, log: Log | None = None) -> None:
        """Open `path`, or a database in memory if that fails."""
        self._path = path
        self._clock = clock
        self._log = log or Log()
        self.is_degraded = False
        """True while the tables are in memory only."""
        self._write_back_at = 0.0
        self._in_transaction: list[tuple[str, tuple[object, ...]]] | None = None
        """The statements of the open transaction, to be repeated if the disk is full."""
        try:
            self._connection = _connect(str(path))
        except sqlite3.Error as error:
            self._connection = _connect(IN_MEMORY)
            if _is_broken(error):
                self._replace_broken(error)
                return
            self._note_degraded(error)
            if path.exists() and path.stat().st_size:
                migrated = _migrated_in_memory(str(path))
                if migrated is None:
                    # The file's rows were not read, so the file must not be replaced.
                    self._write_back_at = math.inf
                else:
                    self._connection.close()
                    self._connection = migrated

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute one statement and return its rows; it survives a kill unless degraded."""
        self._write_back_if_due()
        try:
            rows = self._connection.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._relocate(error)
            return self._connection.execute(statement, values).fetchall()
        if self._in_transaction is not None:
            self._in_transaction.append((statement, values))
        return rows

    def run_durably(self, statement: str, *values: object) -> None:
        """Execute one statement so that it survives a power cut, see `transaction`."""
        with self.transaction(durable=True):
            self.run(statement, *values)

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Make the statements of the block one write: after a crash all are there, or none.

        They are committed even if the block raises; if `durable`, with synchronous=FULL, which
        waits for the disk. An inner block joins the outer one, which decides on `durable`.
        """
        self._write_back_if_due()
        if self._in_transaction is not None or self.is_degraded:
            yield
            return
        if durable:
            self.run("PRAGMA synchronous = FULL")
        self.run("BEGIN")
        self._in_transaction = []
        try:
            yield
        finally:
            if self._in_transaction is not None:
                self._commit()
            if durable:
                self.run("PRAGMA synchronous = NORMAL")

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._relocate(error)
        finally:
            self._in_transaction = None

    def _relocate(self, error: sqlite3.DatabaseError) -> None:
        """Move the tables to a new file or to memory, and repeat the open transaction there."""
        # Other subclasses are bugs of the caller.
        is_bug = type(error) not in {sqlite3.OperationalError, sqlite3.DatabaseError}
        if is_bug or self.is_degraded:
            raise error
        with contextlib.suppress(sqlite3.Error):
            self._connection.rollback()
        if _is_broken(error):
            self._replace_broken(error)
        else:
            self._move_to_memory(error)
        done, self._in_transaction = self._in_transaction or [], None
        for statement, values in done:
            self._connection.execute(statement, values)

    def close(self) -> None:
        """Close, after a last attempt to write back tables that are in memory."""
        if self.is_degraded and self._write_back_at < math.inf:
            self._write_back()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _replace_broken(self, error: sqlite3.Error) -> None:
        """Rename a broken file and copy its readable rows to a new one, or keep them in memory."""
        saved, _ = _copy_to_memory(self._connection)
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._rename_broken(error)
        self._connection = saved
        try:
            if self._path.exists():
                raise error
            fresh = _connect(str(self._path))
        except sqlite3.Error as again:
            self._note_degraded(again)
            if self._path.exists():
                self._write_back_at = math.inf
            return
        saved.backup(fresh)
        saved.close()
        self._connection = fresh

    def _rename_broken(self, error: sqlite3.Error) -> None:
        kept = self._path.with_name(f"{self._path.name}.unusable-{self._clock.now():%Y%m%dT%H%M%S}")
        self._log.warning(Event.STATE_DEGRADED, error=str(error), kept=str(kept))
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                self._path.with_name(self._path.name + suffix).replace(f"{kept}{suffix}")

    def _move_to_memory(self, error: sqlite3.Error) -> None:
        self._note_degraded(error)
        memory, is_whole = _copy_to_memory(self._connection)
        if not is_whole:
            self._write_back_at = math.inf  # As above: rows were not read.
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._connection = memory

    def _note_degraded(self, error: sqlite3.Error) -> None:
        self.is_degraded = True
        self._write_back_at = self._clock.monotonic() + WRITE_BACK_INTERVAL_S
        self._log.warning(Event.STATE_DEGRADED, path=str(self._path), error=str(error))

    def _write_back_if_due(self) -> None:
        if self.is_degraded and self._clock.monotonic() >= self._write_back_at:
            self._write_back()

    def _write_back(self) -> None:
        """Replace the file's content by the tables in memory, and use the file again."""
        self._write_back_at = self._clock.monotonic() + WRITE_BACK_INTERVAL_S
        try:
            file = _connect(str(self._path))
        except sqlite3.Error:
            return
        try:
            self._connection.backup(file)
        except sqlite3.Error:
            file.close()
            return
        self._connection.close()
        self._connection = file
        self.is_degraded = False
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
"""By version: the statement that migrates to the next version."""


def _connect(where: str) -> sqlite3.Connection:
    """Open a database and create or migrate its tables.

    Raises:
        StateNewer: a later version of the worker wrote it.
        sqlite3.Error: it cannot be opened, or has other tables.
    """
    if where != IN_MEMORY:
        # SQLite would leave the mode to the umask; its own journals get the mode of this file.
        with contextlib.suppress(OSError):
            os.close(os.open(where, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            Path(where).chmod(0o600)
    connection = sqlite3.connect(where, isolation_level=None, timeout=0.5)
    try:
        # One process uses the file. So no shared memory is needed, which may fail on a full disk
        # or a network file system.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = _checked_version(connection, where)
        connection.execute("PRAGMA journal_mode = WAL")
        # Survives a kill of the process; for a power cut see `run_durably`.
        connection.execute("PRAGMA synchronous = NORMAL")
        if version != SCHEMA_VERSION:
            _migrate(connection, version)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrated_in_memory(where: str) -> sqlite3.Connection | None:
    """Return a migrated copy of a file of an earlier version, for a disk that is full.

    ``None`` if it needs no migration, or cannot be read.
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
    """Migrate the tables from `version`, 0 for none, to `SCHEMA_VERSION` in one transaction."""
    steps = (_CHANGES[old] for old in range(version, SCHEMA_VERSION))
    changes = " ".join(steps) if version else _SCHEMA
    connection.executescript(f"BEGIN; {changes} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _is_broken(error: sqlite3.Error) -> bool:
    """True if the file is broken or has other content, rather than being inaccessible."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _UNUSABLE


def _checked_version(connection: sqlite3.Connection, where: str) -> int:
    """Return the version of the tables, 0 if there are none; raises as `_connect` does."""
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if version > SCHEMA_VERSION:
        raise StateNewer(Path(where), version, SCHEMA_VERSION)
    if version not in {0, *_CHANGES, SCHEMA_VERSION}:
        error = sqlite3.DatabaseError(f"unknown schema version {version}")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error
    return int(version)


def _copy_to_memory(source: sqlite3.Connection) -> tuple[sqlite3.Connection, bool]:
    """Return a copy in memory, and whether it is complete; else it has the readable rows."""
    memory = _connect(IN_MEMORY)
    with contextlib.suppress(sqlite3.Error):
        source.backup(memory)
        if memory.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]:
            return memory, True
    memory.close()
    memory = _connect(IN_MEMORY)
    for table in TABLES:
        with contextlib.suppress(sqlite3.Error):
            for row in source.execute(f"SELECT * FROM {table}"):  # noqa: S608 - our own names
                values = ", ".join("?" * len(row))
                memory.execute(f"INSERT OR IGNORE INTO {table} VALUES ({values})", row)  # noqa: S608
    return memory, False
