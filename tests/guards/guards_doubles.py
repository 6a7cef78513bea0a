"""A clock moved by hand, and the simplest scrubber that could be right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent_swarm_worker.guards.scrubbing.needles import needles_of

if TYPE_CHECKING:
    from collections.abc import Mapping


class HandClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 11, 20, 18, 0, tzinfo=UTC) + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def hidden_bytes(secrets: Mapping[str, str], data: bytes) -> list[tuple[int, int]]:
    """Where `data` holds any form of any secret, found by looking everywhere for each."""
    found = sorted(
        (start, start + len(needle))
        for value in secrets.values()
        for needle in needles_of(value)
        for start in range(len(data) - len(needle) + 1)
        if data.startswith(needle, start)
    )
    ranges: list[tuple[int, int]] = []
    for start, end in found:
        if ranges and start < ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(end, ranges[-1][1]))
        else:
            ranges.append((start, end))
    return ranges


def open_bytes(secrets: Mapping[str, str], data: bytes) -> list[bytes]:
    """What is left of `data` between the hidden ranges."""
    pieces, position = [], 0
    for start, end in hidden_bytes(secrets, data):
        pieces.append(data[position:start])
        position = end
    return [*pieces, data[position:]]
