"""The SQLite file itself: its tables, how it is opened, and what can be saved of a broken one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from agent_swarm_worker.errors import StateNewer

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
        # Enough to survive the death of the process; for a power cut there is `run_for_good`.
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
