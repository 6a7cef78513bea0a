"""How much of a session goes into its journal, and what is left out first.

Up to half of the limit everything is recorded. From there on debug lines are not: partial deltas,
pings, standard error, words of a harness that speaks JSON; and from seven eighths on only results,
session ids and errors are. What is left out still reaches the listeners.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    Custom,
    Error,
    Result,
    SessionInit,
)
from agent_swarm_worker.journal.records import limit_record
from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.contract import ProviderEvent
    from agent_swarm_worker.logs import Log


class Weight(IntEnum):
    """What a line is worth; the lightest is left out first."""

    DEBUG = 0
    ORDINARY = 1
    VITAL = 2


def weigh(events: Sequence[ProviderEvent]) -> Weight:
    """Judge a line by what its harness's translator made of it.

    One that means nothing, or only something of that harness's own, is a debug line. A line that
    tells of usage and nothing else carries what the session has cost so far.
    """
    if any(isinstance(event, Result | SessionInit | Error) for event in events):
        return Weight.VITAL
    told = [event for event in events if not isinstance(event, Custom)]
    if not told:
        return Weight.DEBUG
    is_usage = all(isinstance(event, ContextUsage | Compaction) for event in told)
    return Weight.VITAL if is_usage else Weight.ORDINARY


class JournalLimit:
    """Counts what one session records, in all of its journals.

    Args:
        max_bytes: size above which not even vital lines are recorded as they come; of those the
            last is then kept for the end. A batch may overshoot it by its own size.
        log: where it is told that lines are left out.
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
        """By weight: how many lines, and their bytes."""
        self._last_vital = b""

    @property
    def is_near(self) -> bool:
        """True once lines have to be weighed before they are recorded."""
        return self._bytes >= self._until[Weight.DEBUG]

    def took(self, size: int) -> None:
        """Count what was recorded, in bytes."""
        self._bytes += size

    def admitted(self, record: bytes, weight: Weight) -> list[bytes]:
        """Return what is to be recorded for a line: itself, nothing, or a word on what follows."""
        if self._bytes < self._until[weight]:
            return [record]
        if weight is Weight.VITAL:
            self._last_vital = record
        is_first = weight not in self._left_out
        count = self._left_out.setdefault(weight, [0, 0])
        count[0] += 1
        count[1] += len(record) + 1
        return [self._say(f"no {weight.name.lower()} lines from here on")] if is_first else []

    def closing(self) -> list[bytes]:
        """Return the last records of the session: its last vital line, and what was left out."""
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
        return [*records, self._say("what was left out", left_out=left_out)]

    def _say(self, what: str, **more: Any) -> bytes:
        self._log.warning(Event.JOURNAL_LIMITED, what=what, max_bytes=self._max_bytes, **more)
        return limit_record(what, self._max_bytes, **more)
