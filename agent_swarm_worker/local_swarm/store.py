"""The database: one SQLite file, one connection, one transaction per request.

All calls run in the event loop's own thread. A statement here takes microseconds (WAL,
``synchronous=NORMAL``: no fsync per commit), less than handing it to a thread would, and since no
handler awaits inside a transaction two of them can never interleave. What is committed is in the
write-ahead log and survives the death of the process, though not always the loss of power.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import StateLocked, StateUnwritable
from agent_swarm_worker.local_swarm import schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.local_swarm.tables import Table

Document: TypeAlias = dict[str, Any]
"""A row as the wire shows it."""

IN_MEMORY = ":memory:"
LOCK_WAIT_S = 0.2
"""Long enough for another server that is just about to stop."""

CENTURY_S = 100 * 365 * 86400


class Store:
    """Reads and writes documents; knows nothing of what they mean."""

    def __init__(self, path: Path | str, clock: Clock, ids: IdSource) -> None:
        """Open the database, creating it if need be.

        Raises:
            StateLocked: another process has it open.
            StateUnwritable: it cannot be created, or a newer version wrote it.
        """
        self.clock, self.new_id = clock, ids
        self._connection = _open(path)

    def close(self) -> None:
        """Close the file; what was committed is kept."""
        self._connection.close()

    # --- time
    def now(self) -> str:
        """This moment, as the wire writes it."""
        return wire_time(self.clock.now())

    def ago(self, seconds: float) -> str:
        """The moment `seconds` before now."""
        return wire_time(self._moment(-seconds))

    def ahead(self, seconds: float) -> str:
        """The moment `seconds` after now."""
        return wire_time(self._moment(seconds))

    def _moment(self, seconds: float) -> datetime:
        # Whatever a caller asks for, the calendar ends with the year 9999.
        return self.clock.now() + timedelta(seconds=max(-CENTURY_S, min(seconds, CENTURY_S)))

    # --- plain SQL
    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside happens, or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            # Still open after an error inside, and after a COMMIT that found the disk full.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def run(self, sql: str, *values: Any) -> int:
        """Execute one statement; return how many rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        return self._connection.execute(sql, values).fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        """Return the first column of the first row, or ``None``."""
        row = self._connection.execute(sql, values).fetchone()
        return None if row is None else row[0]

    # --- documents
    def insert(self, table: Table, document: Document) -> Document:
        """Store `document` under a new id (unless it has one) and return it as stored."""
        row = {"id": document.get("id") or self.new_id(), **document}
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        # Table and column names are our own constants; values are always bound.
        sql = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608
        self._connection.execute(sql, [_stored(value) for value in row.values()])
        stored = self.get(table, row["id"])
        assert stored is not None
        return stored

    def update(self, table: Table, row_id: str, **changes: Any) -> Document:
        """Set some columns of one row and return the whole row."""
        if changes:
            sets = ", ".join(f"{name} = ?" for name in changes)
            sql = f"UPDATE {table.name} SET {sets} WHERE id = ?"  # noqa: S608 - as above
            self._connection.execute(sql, [*map(_stored, changes.values()), row_id])
        stored = self.get(table, row_id)
        assert stored is not None
        return stored

    def get(self, table: Table, row_id: str) -> Document | None:
        """Return the row with this id."""
        return self.first(table, "id = ?", row_id)

    def first(self, table: Table, where: str, *values: Any) -> Document | None:
        """Return the first row that matches."""
        found = self.find(table, f"{where} LIMIT 1", *values)
        return found[0] if found else None

    def find(self, table: Table, where: str, *values: Any) -> list[Document]:
        """Return the rows that match; `where` may end in ORDER BY and LIMIT."""
        sql = f"SELECT * FROM {table.name} WHERE {where}"  # noqa: S608 - as above
        return [document_of(table, row) for row in self.rows(sql, *values)]

    def delete(self, table: Table, where: str, *values: Any) -> int:
        """Remove the rows that match; return how many there were."""
        return self.run(f"DELETE FROM {table.name} WHERE {where}", *values)  # noqa: S608 - as above


def document_of(table: Table, row: sqlite3.Row) -> Document:
    """Turn a row into what the wire shows."""
    document: Document = {}
    for name in row.keys():  # noqa: SIM118 - iterating a Row gives its values
        value = row[name]
        if name in table.hidden or (value is None and name not in table.nulls):
            continue
        if value is not None and name in table.json:
            value = orjson.loads(value)
        elif name in table.flags:
            value = bool(value)
        document[name] = value
    return document


def _stored(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value


def _open(path: Path | str) -> sqlite3.Connection:
    in_memory = str(path) == IN_MEMORY
    place = Path(path)
    try:
        if not in_memory:
            place.parent.mkdir(parents=True, exist_ok=True)
            # Configuration rows hold credentials: the file is the owner's alone.
            os.close(os.open(place, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise StateUnwritable(place, str(error)) from error
    connection.row_factory = sqlite3.Row
    try:
        _prepare(connection, place)
    except sqlite3.Error as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise StateLocked(place, None) from error
        raise StateUnwritable(place, str(error)) from error
    except StateUnwritable:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, place: Path) -> None:
    # Two servers on one file would each miss what the other caches and claims.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute("COMMIT")
    if version > schema.VERSION:
        raise StateUnwritable(
            place, f"it has layout {version}, this program knows {schema.VERSION}"
        )
    connection.executescript(schema.CREATE)
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")
