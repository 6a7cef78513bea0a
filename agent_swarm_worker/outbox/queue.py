"""Stores the API writes that are not acknowledged yet, in the table ``outbox``.

A lane holds the writes of one task, or of the worker itself; `STREAMS` says which of them keep
their order. No state is held in memory but the size. The cost of each operation does not depend on
the number of rows: an outage of days must not slow down further writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.api.configuration import PoolKey
from agent_swarm_worker.api.values import encode
from agent_swarm_worker.journal.reading import joined
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.outbox.reduction import Persistence
    from agent_swarm_worker.state.database import Database

MAX_BYTES = 64 * 1024 * 1024
SET_ASIDE = "set aside"
"""The lane of writes that a gateway refuses in any form."""
MAX_RESULTS = 64
"""How many refused results are kept."""
_RESULT = "result "
"""Begins the names of notes with a refused result."""
_ROW_BYTES = 100
"""Size of a row without its arguments."""


class WriteKind(StrEnum):
    """The kinds of writes; `delivery` lists the arguments of each."""

    PROGRESS = "progress"
    NOTE = "note"
    SESSION = "session"
    LOGS = "logs"
    EVENTS = "events"
    COST = "cost"
    CONTEXT = "context"
    FINISH = "finish"
    LATE_RESULT = "late_result"
    VCS = "vcs"
    REPORT_USAGE = "report_usage"
    REPORT_RATE_LIMIT = "report_rate_limit"
    REPORT_WINDOWS = "report_windows"
    CLEAR_RATE_LIMIT = "clear_rate_limit"
    PROVIDER_SESSION = "provider_session"
    LATEST_MODEL = "latest_model"
    COMMIT_CURSORS = "commit_cursors"
    DELETE_ACTIVE_SESSION = "delete_active_session"
    STEERED = "steered"
    MEMORY = "memory"


EVICTION_ORDER = (
    WriteKind.CONTEXT,
    WriteKind.EVENTS,
    WriteKind.LOGS,
    WriteKind.PROGRESS,
)
"""Kinds that are evicted when the queue is full, in this order; other kinds are never evicted.

Context snapshots are followed by newer ones, and tool events repeat what is in the log. Log lines
are still in the journal; their ranges are joined while they wait, so few bytes are gained. Progress
has one row per task. The other kinds are few, small and sent once only.
"""
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS outbox_by_lane_and_kind ON outbox (lane, kind, id)",
    "CREATE INDEX IF NOT EXISTS outbox_by_kind ON outbox (kind, id)",
)


IRREPLACEABLE = frozenset({WriteKind.COST, WriteKind.FINISH, WriteKind.MEMORY, WriteKind.SESSION})
"""Kinds that are written durably, so that a power cut does not undo them. Few per task."""


@dataclass
class Item:
    """One write, as a row of the table."""

    id: int
    lane: str
    kind: str
    data: bytes
    sent: int
    """Acknowledged part of a write that is sent in parts: bytes of logs, number of events."""
    maybe_delivered: bool
    """True if an attempt ended without an answer, so that the server may have the write.

    The column is named ``uncertain``."""

    @cached_property
    def args(self) -> dict[str, Any]:
        """The arguments; a key whose value was ``None`` is absent.

        Raises:
            ValueError, TypeError: not JSON, or not an object.
        """
        args = orjson.loads(self.data)
        if not isinstance(args, dict):
            raise TypeError("the arguments are not an object")
        return args


STREAMS = {
    WriteKind.PROGRESS: "progress",
    WriteKind.NOTE: "progress",
    WriteKind.SESSION: "session",
    WriteKind.LOGS: "logs",
    WriteKind.EVENTS: "events",
    WriteKind.COST: "cost",
    WriteKind.CONTEXT: "context",
}
"""By kind: the stream of its writes. One write of each stream of a lane may be in flight.

A write of any other kind is a barrier: it is sent when all earlier writes of its lane are gone, and
before all later ones. So all lines of a task are stored before its finish."""
_LOOK_AHEAD = 16
"""Rows of a lane that `Queue.next` considers."""
_KINDS = ",".join(f"'{kind}'" for kind in STREAMS)
_STREAM = " ".join(f"WHEN '{kind}' THEN '{stream}'" for kind, stream in STREAMS.items())
_MARK_IN_FLIGHT = f"""
    WITH barriers AS (
        SELECT lane, min(id) AS id FROM outbox WHERE kind NOT IN ({_KINDS}) GROUP BY lane
    )
    UPDATE outbox SET uncertain = 1 WHERE id IN (
    SELECT min(id) FROM outbox GROUP BY lane
    UNION
    SELECT min(item.id) FROM outbox AS item LEFT JOIN barriers ON barriers.lane = item.lane
    WHERE item.kind IN ({_KINDS}) AND item.id < coalesce(barriers.id, 9223372036854775807)
    GROUP BY item.lane, CASE item.kind {_STREAM} END)
"""  # noqa: S608 - made of constants


class Queue:
    """The table of writes."""

    def __init__(
        self, database: Database, *, max_bytes: int = MAX_BYTES, log: Log | None = None
    ) -> None:
        self._db = database
        self._max_bytes = max_bytes
        self._log = log or Log()
        for index in _INDEXES:
            self._db.run(index)
        ((total,),) = self._db.run("SELECT sum(length(args) + ?) FROM outbox", _ROW_BYTES)
        self._bytes = int(total or 0)
        # An earlier process may have died between an answer and the deletion of its row.
        self._db.run(_MARK_IN_FLIGHT)

    def add(
        self, lane: str, kind: WriteKind, args: Mapping[str, Any], *, maybe_delivered: bool = False
    ) -> None:
        """Append a write to its lane.

        New progress replaces waiting progress, and a range of a journal is joined to the lane's
        last one if it continues that.
        """
        data = encode(args)
        if kind is WriteKind.LOGS and not maybe_delivered and self._join(lane, data):
            return
        insert = self._db.run_durably if kind in IRREPLACEABLE else self._db.run
        insert(
            "INSERT INTO outbox (lane, kind, args, uncertain) VALUES (?, ?, ?, ?)",
            lane,
            kind,
            data,
            maybe_delivered,
        )
        self._bytes += len(data) + _ROW_BYTES
        if kind is WriteKind.PROGRESS:
            # Only behind the last finish: earlier progress belongs to an earlier result.
            self._delete(
                "lane = ? AND kind = ? AND id < (SELECT max(id) FROM outbox WHERE lane = ?)"
                " AND id > coalesce((SELECT max(id) FROM outbox WHERE lane = ? AND kind = ?), 0)",
                lane,
                kind,
                lane,
                lane,
                WriteKind.FINISH,
            )
        if self._bytes > self._max_bytes:
            self._evict()

    def next(self, lane: str) -> list[tuple[int, str | None]]:
        """Return the writes of a lane that can be sent concurrently: their ids and streams.

        A write without a stream is returned alone, once it is the first of its lane.
        """
        rows = self._db.run(
            "SELECT id, kind FROM outbox WHERE lane = ? ORDER BY id LIMIT ?", lane, _LOOK_AHEAD
        )
        at_once: dict[str, int] = {}
        for item_id, kind in rows:
            stream = STREAMS.get(kind)
            if stream is None and not at_once:
                return [(item_id, None)]
            if stream is None:
                break
            at_once.setdefault(stream, item_id)
        return [(item_id, stream) for stream, item_id in at_once.items()]

    def get(self, item_id: int) -> Item | None:
        """Return a write; ``None`` if it was removed, replaced or moved to the end of its lane."""
        rows = self._db.run(
            "SELECT lane, kind, args, sent, uncertain FROM outbox WHERE id = ?", item_id
        )
        if not rows:
            return None
        lane, kind, data, sent, maybe = rows[0]
        return Item(item_id, lane, kind, data, sent, maybe_delivered=bool(maybe))

    def has(self, lane: str | None = None) -> bool:
        """True if a write waits, in a lane or in any."""
        condition, values = _of(lane)
        return bool(self._db.run(f"SELECT 1 FROM outbox {condition} LIMIT 1", *values))  # noqa: S608

    def journals(self) -> set[str]:
        """Return the paths of the journals of which a range waits."""
        rows = self._db.run("SELECT args FROM outbox WHERE kind = ?", WriteKind.LOGS)
        return {str(args["path"]) for (data,) in rows if "path" in (args := _object(data))}

    def lanes(self) -> list[str]:
        """Return the lanes that are not empty, the one with the oldest write first."""
        rows = self._db.run("SELECT lane FROM outbox GROUP BY lane ORDER BY min(id)")
        return [lane for (lane,) in rows]

    def lanes_with(self, kind: WriteKind) -> tuple[str, ...]:
        """Return the lanes in which a write of this kind waits."""
        rows = self._db.run("SELECT DISTINCT lane FROM outbox WHERE kind = ?", kind)
        return tuple(lane for (lane,) in rows)

    def keep_result(self, item: Item) -> None:
        """Store a result that the server refused: it may have made a task that repeats the work.

        The last `MAX_RESULTS` are kept.
        """
        result = _result(item.kind, item.args)
        if result is None:
            return
        pattern = f"{_RESULT}%"
        with self._db.transaction(durable=True):
            values = (f"{_RESULT}{item.args['task_id']}", encode(result).decode())
            self._db.run("INSERT OR REPLACE INTO notes VALUES (?, ?)", *values)
            self._db.run(
                "DELETE FROM notes WHERE name LIKE ? AND rowid NOT IN"
                " (SELECT rowid FROM notes WHERE name LIKE ? ORDER BY rowid DESC LIMIT ?)",
                *(pattern, pattern, MAX_RESULTS),
            )

    def result_of(self, task_id: str) -> dict[str, str] | None:
        """Return the result of a task that waits here, or that the server refused."""
        waiting = self._db.run(
            "SELECT kind, args FROM outbox WHERE lane = ? AND kind IN (?, ?) ORDER BY id DESC",
            *(task_id, WriteKind.FINISH, WriteKind.LATE_RESULT),
        )
        refused = self._db.run(
            "SELECT ?, value FROM notes WHERE name = ?", WriteKind.FINISH, f"{_RESULT}{task_id}"
        )
        found = (_result(kind, _object(data)) for kind, data in (*waiting, *refused))
        return next(filter(None, found), None)

    def count(self, lane: str | None = None) -> int:
        """Return the number of writes in a lane, or in all."""
        condition, values = _of(lane)
        ((number,),) = self._db.run(f"SELECT count(*) FROM outbox {condition}", *values)  # noqa: S608
        return int(number)

    def remove(self, item: Item) -> None:
        """Delete a write that was acknowledged or given up."""
        self._delete("id = ?", item.id)

    def advance(self, item: Item, sent: int) -> None:
        """Note that a part of a write was acknowledged."""
        item.sent, item.maybe_delivered = sent, False
        self._db.run("UPDATE outbox SET sent = ?, uncertain = 0 WHERE id = ?", sent, item.id)

    def mark_maybe_delivered(self, item: Item) -> None:
        """Note that the server may have this write."""
        self._db.run("UPDATE outbox SET uncertain = 1 WHERE id = ?", item.id)

    def move_to_end(self, item: Item) -> bool:
        """Move a write to the end of its lane; False if no other write waits for it."""
        stream = STREAMS.get(WriteKind(item.kind))
        rows = self._db.run(
            "SELECT kind FROM outbox WHERE lane = ? AND id > ? ORDER BY id", item.lane, item.id
        )
        kinds = [kind for (kind,) in rows]
        if not any(stream is None or STREAMS.get(kind) in (None, stream) for kind in kinds):
            return False
        self._db.run(
            "UPDATE outbox SET id = (SELECT max(id) FROM outbox) + 1 WHERE id = ?", item.id
        )
        return True

    def set_aside(self, item: Item) -> None:
        """Move a write to a lane for which nothing waits."""
        self._db.run(
            "UPDATE outbox SET id = (SELECT max(id) FROM outbox) + 1, lane = ? WHERE id = ?",
            SET_ASIDE,
            item.id,
        )

    def _join(self, lane: str, data: bytes) -> bool:
        """Join a range of a journal to the lane's last one; false if it needs a row of its own.

        Excluded are the first range of the lane, which may be in flight, ranges of which a part was
        or may have been delivered, and ranges before a finish.
        """
        rows = self._db.run(
            "SELECT id, args FROM outbox WHERE lane = ?1 AND kind = ?2"
            " AND id > (SELECT min(id) FROM outbox WHERE lane = ?1 AND kind = ?2)"
            " AND id > coalesce("
            "(SELECT max(id) FROM outbox WHERE lane = ?1 AND kind = ?3), 0)"
            " AND sent = 0 AND uncertain = 0 ORDER BY id DESC LIMIT 1",
            lane,
            WriteKind.LOGS,
            WriteKind.FINISH,
        )
        longer_range = joined(_object(rows[0][1]), _object(data)) if rows else None
        if longer_range is None:
            return False
        longer = encode(longer_range)
        self._db.run("UPDATE outbox SET args = ? WHERE id = ?", longer, rows[0][0])
        self._bytes += len(longer) - len(rows[0][1])
        return True

    def _delete(self, condition: str, *values: object) -> int:
        """Delete the rows that match a constant condition with these bound values."""
        rows = self._db.run(
            f"DELETE FROM outbox WHERE {condition} RETURNING length(args)",  # noqa: S608
            *values,
        )
        self._bytes -= sum(length + _ROW_BYTES for (length,) in rows)
        return len(rows)

    def _evict(self) -> None:
        """Delete rows in `EVICTION_ORDER`, oldest first, down to 90 % of the limit."""
        for kind in EVICTION_ORDER:
            dropped = 0
            while self._bytes > self._max_bytes * 0.9:
                oldest = "SELECT id FROM outbox WHERE kind = ? ORDER BY id LIMIT 10"
                deleted = self._delete(f"id IN ({oldest})", kind)
                if not deleted:
                    break
                dropped += deleted
            if dropped:
                self._log.warning(
                    Event.WRITE_DROPPED, kind=kind, count=dropped, why="the outbox is full"
                )


def _of(lane: str | None) -> tuple[str, tuple[str, ...]]:
    return ("", ()) if lane is None else ("WHERE lane = ?", (lane,))


def _object(data: bytes) -> dict[str, Any]:
    """Return a write's arguments; empty if a different version wrote something else."""
    try:
        args = orjson.loads(data)
    except ValueError:
        return {}
    return args if isinstance(args, dict) else {}


def _result(kind: str, args: Mapping[str, Any]) -> dict[str, str] | None:
    """Return how the task of a write ended; the late result of a failed session says nothing."""
    names = ("status", "output", "failure_reason")
    result = {name: str(args[name]) for name in names if name in args}
    decided = {"completed", "failed"} if kind == WriteKind.FINISH else {"completed"}
    return result if result.get("status") in decided else None


@dataclass(frozen=True, slots=True)
class BacklogRow:
    """Number and size of the writes of one kind in one lane."""

    lane: str
    """A task's id, or ``worker``."""
    kind: str
    writes: int
    size_bytes: int
    """Size of the rows; the row of a journal's range does not contain its lines."""


def backlog(database: Database) -> tuple[BacklogRow, ...]:
    """Return the waiting writes, the lane with the oldest write first."""
    rows = database.run(
        "SELECT lane, kind, count(*), sum(length(args)) FROM outbox GROUP BY lane, kind"
        " ORDER BY (SELECT min(id) FROM outbox AS all_of WHERE all_of.lane = outbox.lane), min(id)"
    )
    return tuple(BacklogRow(*row) for row in rows)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to carry out one write."""

    client: SwarmClient
    queue: Queue
    item: Item
    log: Log
    persistence: Persistence
    """Of the failures before this attempt, and of this one."""

    @property
    def args(self) -> Mapping[str, Any]:
        """The write's arguments; a key whose value was ``None`` is absent."""
        return self.item.args

    @property
    def pool_key(self) -> PoolKey:
        """The argument ``key``."""
        return PoolKey(**self.item.args["key"])

    def dropped(self, why: str, **details: object) -> None:
        """Log that the write, or a part of it, is given up."""
        self.log.warning(
            Event.WRITE_DROPPED, lane=self.item.lane, kind=self.item.kind, why=why, **details
        )
