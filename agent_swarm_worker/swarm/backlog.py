"""What waits in an outbox, for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_swarm_worker.swarm.database import Database


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
