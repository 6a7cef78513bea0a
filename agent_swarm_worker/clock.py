"""Provide the time through `Clock`; format and parse times and durations."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Protocol

import anyio


class Clock(Protocol):
    """A source of time that the worker is given."""

    def monotonic(self) -> float:
        """Return seconds that never decrease, for measuring durations."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""


class SystemClock:
    """The clock of the machine."""

    def monotonic(self) -> float:
        """Return seconds that never decrease, for measuring durations."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        await anyio.sleep(seconds)


def wire_time(moment: datetime) -> str:
    """Format a time for the API, which refuses an offset such as ``+00:00`` (docs/api.md 1.3)."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def epoch_ms(moment: datetime) -> int:
    """Return a time as whole milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


_DURATION = re.compile(
    r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d{1,9})?)s?)?", re.IGNORECASE
)


def parse_duration(text: str) -> float:
    """Parse ``90``, ``90s``, ``45m``, ``1h30m``; ``off`` is 0; else raise `ValueError`."""
    compact = "".join(text.split())
    found = _DURATION.fullmatch(compact) if compact.isascii() else None
    if compact.lower() in {"off", "none"}:
        return 0.0
    if not compact or found is None:
        msg = f"{text!r} is no duration such as 90, 45m or 1h30m"
        raise ValueError(msg)
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def format_duration(seconds: float) -> str:
    """Format a duration for people: ``0.5 s``, ``90 s``, ``15 min``, ``2 h``, ``1 h 30 min``."""
    if seconds < 120:
        return f"{round(seconds, 1):g} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    parts = (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "")
    return " ".join(part for part in parts if part)
