"""Limits the size of a session's journal, leaving out the least important lines first.

Up to half of the limit all lines are recorded, from there on no debug lines (partial deltas, pings,
standard error, plain text of a harness that prints JSON), from seven eighths on only results,
session ids and errors. Lines that are left out still reach the listeners.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import Compaction, ContextUsage, Custom, Error, Result, SessionInit
from agent_swarm_worker.journal.records import limit_record
from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.contract import ProviderEvent
    from agent_swarm_worker.logs import Log


class Weight(IntEnum):
    """Importance of a line; the least important is left out first."""

    DEBUG = 0
    ORDINARY = 1
    VITAL = 2


def weigh(events: Sequence[ProviderEvent]) -> Weight:
    """Return the weight of a line with these normalized events.

    Nothing but usage is vital: it carries the cost of the session so far.
    """
    if any(isinstance(event, Result | SessionInit | Error) for event in events):
        return Weight.VITAL
    known = [event for event in events if not isinstance(event, Custom)]
    if not known:
        return Weight.DEBUG
    is_usage = all(isinstance(event, ContextUsage | Compaction) for event in known)
    return Weight.VITAL if is_usage else Weight.ORDINARY


class JournalLimit:
    """Counts the bytes that one session records, in all of its files.

    Above `max_bytes` the last vital line is recorded at the end only. A batch may overshoot the
    limit by its own size.
    """

    def __init__(self, max_bytes: int, *, log: Log) -> None:
        self._max_bytes = max_bytes
        self._until = {
            Weight.DEBUG: max_bytes // 2,
            Weight.ORDINARY: max_bytes * 7 // 8,
            Weight.VITAL: max_bytes,
        }
        self._log = log
        self._bytes = 0
        self._left_out: dict[Weight, list[int]] = {}
        """By weight: number of lines, and their bytes."""
        self._last_vital = b""

    @property
    def is_near(self) -> bool:
        """True once `admitted` must be called for each line."""
        return self._bytes >= self._until[Weight.DEBUG]

    def count(self, size: int) -> None:
        """Count recorded bytes."""
        self._bytes += size

    def admitted(self, record: bytes, weight: Weight) -> list[bytes]:
        """Return the records for a line: itself, none, or a note that such lines are left out."""
        if self._bytes < self._until[weight]:
            return [record]
        if weight is Weight.VITAL:
            self._last_vital = record
        is_first = weight not in self._left_out
        left_out = self._left_out.setdefault(weight, [0, 0])
        left_out[0] += 1
        left_out[1] += len(record) + 1
        return [self._note(f"no {weight.name.lower()} lines from here on")] if is_first else []

    def closing(self) -> list[bytes]:
        """Return the last records of the session: its last vital line, and a note of the counts."""
        if not self._left_out:
            return []
        records = []
        if self._last_vital:
            records.append(self._last_vital)
            self._left_out[Weight.VITAL][0] -= 1
            self._left_out[Weight.VITAL][1] -= len(self._last_vital) + 1
        left_out = {
            weight.name.lower(): {"lines": lines, "bytes": size}
            for weight, (lines, size) in sorted(self._left_out.items())
        }
        self._left_out, self._last_vital = {}, b""
        return [*records, self._note("what was left out", left_out=left_out)]

    def _note(self, what: str, **more: Any) -> bytes:
        self._log.warning(Event.JOURNAL_LIMITED, what=what, max_bytes=self._max_bytes, **more)
        return limit_record(what, self._max_bytes, **more)
