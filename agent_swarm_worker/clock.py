"""Time, injectable: production uses `SystemClock`, tests a clock they move by hand."""

from __future__ import annotations

import re
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

    An offset such as ``+00:00`` is refused with 400 (docs/api.md 1.3).
    """
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def epoch_ms(moment: datetime) -> int:
    """The same moment as whole milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


_DURATION = re.compile(
    r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d{1,9})?)s?)?", re.IGNORECASE
)


def seconds_of(text: str) -> float:
    """Read a duration as people write it: ``90``, ``90s``, ``45m``, ``1h30m``; ``off`` is 0.

    Raises:
        ValueError: it is none.
    """
    words = "".join(text.split())
    found = _DURATION.fullmatch(words) if words.isascii() else None
    if words.lower() in {"off", "none"}:
        return 0.0
    if not words or found is None:
        msg = f"{text!r} is no duration such as 90, 45m or 1h30m"
        raise ValueError(msg)
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def in_words(seconds: float) -> str:
    """Say a duration shortly: ``0.5 s``, ``90 s``, ``15 min``, ``2 h``, ``1 h 30 min``."""
    if seconds < 120:
        return f"{round(seconds, 1):g} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    parts = (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "")
    return " ".join(part for part in parts if part)
