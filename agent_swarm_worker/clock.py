"""Time, injectable: production uses `SystemClock`, tests a clock they move by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

import anyio


class Clock(Protocol):
    """What the worker may ask of time."""

    def monotonic(self) -> float:
        """Seconds that only ever grow; for measuring how long something took."""
        ...

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class SystemClock:
    """The real thing."""

    def monotonic(self) -> float:
        """Seconds that only ever grow; for measuring how long something took."""
        return time.monotonic()

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        await anyio.sleep(seconds)


def wire_time(moment: datetime) -> str:
    """Format a moment the way the API accepts it: UTC, milliseconds, a final ``Z``.

    An offset such as ``+00:00`` is refused with 400 (API reference section 0).
    """
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def epoch_ms(moment: datetime) -> int:
    """The same moment as whole milliseconds since 1970."""
    return int(moment.timestamp() * 1000)
