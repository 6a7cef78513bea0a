"""What is still to be written to the API, in order, on disk.

A lane is a task, or the worker itself; within it the order of writes matters, as `STREAMS` says.
The table is the only truth; nothing is kept besides it. Whatever is asked of it here costs the same
with ten writes waiting as with a hundred thousand: an outage of days must not make each further
write slower.

What waits in an outbox, for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.api.wire.values import encode
from agent_swarm_worker.journal.reading import joined
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.state.database import Database

MAX_BYTES = 64 * 1024 * 1024
_ROW_BYTES = 100
"""What a row costs besides its arguments."""


class WriteKind(StrEnum):
    """What can be written. `delivery` says which arguments each takes."""

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


EVICTION_ORDER = (
    WriteKind.CONTEXT,
    WriteKind.EVENTS,
    WriteKind.LOGS,
    WriteKind.PROGRESS,
)
"""What goes first when the queue is full; what is not named here is never given up.

First the charts: each context snapshot is followed by a newer one, and what the tool events say is
in the log as well. Then lines of logs, which the journal on disk still has; ranges of one journal
are joined while they wait, so there is little to gain and it does not come to that. Then progress,
of which each task has one. Results, costs, session ids, notes, links, answers to messages and
reports on credentials are few, small and said only once: they stay whatever the limit.
"""
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS outbox_by_lane_and_kind ON outbox (lane, kind, id)",
    "CREATE INDEX IF NOT EXISTS outbox_by_kind ON outbox (kind, id)",
)


IRREPLACEABLE = frozenset({WriteKind.COST, WriteKind.FINISH, WriteKind.SESSION})
"""What a power cut must not take back. Few per task: each waits for the disk."""


@dataclass(kw_only=True)
class Item:
    """One write that is not acknowledged yet."""

    id: int
    lane: str
    kind: str
    data: bytes
    sent: int
    """How much of it was acknowledged, for kinds that go in parts; the unit is theirs."""
    maybe_delivered: bool
    """True if the server may have it already: an attempt ended without an answer."""

    @cached_property
    def args(self) -> dict[str, Any]:
        """What was asked for; what was ``None`` is absent.

        Raises:
            ValueError: it is not JSON.
            TypeError: it is not an object.
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
"""Writes of one lane that do not depend on each other, so that one of each stream may be under way.

Any other kind waits until all that was put before it is acknowledged or given up, and nothing that
was put after it is sent before it: whoever sees a task's finish can read all its lines."""
_LOOK_AHEAD = 16
"""How far in a lane `Queue.next` looks for what can go at once."""
_KINDS = ",".join(f"'{kind}'" for kind in STREAMS)
_STREAM = " ".join(f"WHEN '{kind}' THEN '{stream}'" for kind, stream in STREAMS.items())
_DOUBT_WHAT_MAY_BE_UNDER_WAY = f"""
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
        # An earlier process may have died between an answer and its note of it.
        self._db.run(_DOUBT_WHAT_MAY_BE_UNDER_WAY)

    def add(
        self, lane: str, kind: WriteKind, args: Mapping[str, Any], *, maybe_delivered: bool = False
    ) -> None:
        """Put a write at the end of its lane.

        Of undelivered progress only the newest is kept, and what continues the lane's last range
        of a journal lengthens that.
        """
        data = encode(args)
        if kind is WriteKind.LOGS and not maybe_delivered and self._lengthen(lane, data):
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
            # Not across a finish: what comes after one belongs to what comes after one.
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
            self._shed()

    def next(self, lane: str) -> list[tuple[int, str | None]]:
        """Return the writes of a lane that can go now, beside each other: their ids and streams.

        A write that belongs to no stream comes alone, when it is the first of its lane.
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
        """Return a write as it is now, ``None`` if it is gone or went to the end of its lane."""
        rows = self._db.run(
            "SELECT lane, kind, args, sent, uncertain FROM outbox WHERE id = ?", item_id
        )
        if not rows:
            return None
        lane, kind, data, sent, maybe_delivered = rows[0]
        return Item(
            id=item_id,
            lane=lane,
            kind=kind,
            data=data,
            sent=sent,
            maybe_delivered=bool(maybe_delivered),
        )

    def has(self, lane: str | None = None) -> bool:
        """True if something waits, in a lane or in any."""
        if lane is None:
            return bool(self._db.run("SELECT 1 FROM outbox LIMIT 1"))
        return bool(self._db.run("SELECT 1 FROM outbox WHERE lane = ? LIMIT 1", lane))

    def journals(self) -> set[str]:
        """Return the paths of the journals of which a range waits."""
        rows = self._db.run("SELECT args FROM outbox WHERE kind = ?", WriteKind.LOGS)
        return {str(args["path"]) for (data,) in rows if "path" in (args := _object(data))}

    def lanes(self) -> list[str]:
        """Return the lanes that are not empty, the one that waits longest first."""
        rows = self._db.run("SELECT lane FROM outbox GROUP BY lane ORDER BY min(id)")
        return [lane for (lane,) in rows]

    def lanes_with(self, kind: WriteKind) -> tuple[str, ...]:
        """Return the lanes in which a write of this kind waits."""
        rows = self._db.run("SELECT DISTINCT lane FROM outbox WHERE kind = ?", kind)
        return tuple(lane for (lane,) in rows)

    def count(self, lane: str | None = None) -> int:
        """Return the number of writes in a lane, or in all."""
        if lane is None:
            ((number,),) = self._db.run("SELECT count(*) FROM outbox")
        else:
            ((number,),) = self._db.run("SELECT count(*) FROM outbox WHERE lane = ?", lane)
        return int(number)

    def remove(self, item: Item) -> None:
        """Take a write out: it was acknowledged, or given up."""
        self._delete("id = ?", item.id)

    def advance(self, item: Item, sent: int) -> None:
        """Note that a part of a write was acknowledged."""
        item.sent, item.maybe_delivered = sent, False
        self._db.run("UPDATE outbox SET sent = ?, uncertain = 0 WHERE id = ?", sent, item.id)

    def doubt(self, item: Item) -> None:
        """Note that the server may have this write already."""
        self._db.run("UPDATE outbox SET uncertain = 1 WHERE id = ?", item.id)

    def step_aside(self, item: Item) -> bool:
        """Move a write to the end of its lane; False if it holds nothing up there."""
        stream = STREAMS.get(WriteKind(item.kind))
        held_up = self._db.run(
            "SELECT kind FROM outbox WHERE lane = ? AND id > ? ORDER BY id", item.lane, item.id
        )
        kinds = [kind for (kind,) in held_up]
        if not any(stream is None or STREAMS.get(kind) in (None, stream) for kind in kinds):
            return False
        self._db.run(
            "UPDATE outbox SET id = (SELECT max(id) FROM outbox) + 1 WHERE id = ?", item.id
        )
        return True

    def _lengthen(self, lane: str, data: bytes) -> bool:
        """Join a range of a journal with the one before it; false if it stands for itself.

        Not with the first range of the lane, which may be under way, nor with one of which a part
        has arrived or may have; and not across a finish.
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
        """Delete what matches a condition of ours; values are bound, never pasted."""
        rows = self._db.run(
            f"DELETE FROM outbox WHERE {condition} RETURNING length(args)",  # noqa: S608
            *values,
        )
        self._bytes -= sum(length + _ROW_BYTES for (length,) in rows)
        return len(rows)

    def _shed(self) -> None:
        """Give up the oldest of the least important writes until there is room again."""
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


def _object(data: bytes) -> dict[str, Any]:
    """Return a write's arguments; none if another version of this program wrote nonsense."""
    try:
        args = orjson.loads(data)
    except ValueError:
        return {}
    return args if isinstance(args, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Writes of one kind in one lane."""

    lane: str
    """A task's id, or ``worker``."""
    kind: str
    writes: int
    size_bytes: int
    """Of what is stored; a range of a journal is stored as its place."""


def backlog(database: Database) -> tuple[Waiting, ...]:
    """Return what waits, the lane that waits longest first."""
    rows = database.run(
        "SELECT lane, kind, count(*), sum(length(args)) FROM outbox GROUP BY lane, kind"
        " ORDER BY (SELECT min(id) FROM outbox AS all_of WHERE all_of.lane = outbox.lane), min(id)"
    )
    return tuple(
        Waiting(lane=lane, kind=kind, writes=writes, size_bytes=size_bytes)
        for lane, kind, writes, size_bytes in rows
    )
