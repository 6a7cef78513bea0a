"""A deterministic event loop with virtual time.

Whenever nothing is left to do at this moment, its time jumps to the next timer. So whatever sleeps
or has a time limit runs as in earnest, and a run can be repeated step by step.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits for nothing but its own timers: no sockets, no threads, no children."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_Jumping(self._jump))

    def time(self) -> float:
        return self._now_s

    def _jump(self, seconds: float) -> None:
        self._now_s += seconds


class _Jumping(selectors.SelectSelector):
    """Lets time pass instead of waiting."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will ever happen")
        if timeout > 0:
            self._jump(timeout)
        return super().select(0)


class VirtualClock:
    """The clock of everything that lives on one such loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        return self._loop.time()

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._loop.time())

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def at_once(work: Callable[..., Any], *args: Any, **_: Any) -> Any:
    """Do what would be done in a thread (`anyio.to_thread.run_sync`) here and now."""
    return work(*args)
