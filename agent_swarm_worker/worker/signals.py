"""How far a shutdown has come, and the signals that drive it.

The first one stops polling at once and lets running sessions finish within the drain budget; the
second cuts the drain short; the third ends the process on the spot.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker import logs
from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.logs import Log


class Shutdown:
    """How far the shutdown has come. Loops read it; signals and `request` drive it."""

    def __init__(self, *, log: Log) -> None:
        self.polling_over = anyio.Event()
        """Set when no further task can come from a poll."""
        self.last_act: Callable[[], None] = lambda: None
        """Done by the third request, before the process ends on the spot."""
        self._log = log
        self._requests = 0
        self._draining = anyio.Event()
        self._hurried = anyio.Event()

    @property
    def is_draining(self) -> bool:
        """True from the first request on."""
        return self._draining.is_set()

    async def wait_draining(self) -> None:
        """Return at the first request."""
        await self._draining.wait()

    async def wait_hurried(self) -> None:
        """Return at the second request."""
        await self._hurried.wait()

    def request(self, why: str) -> None:
        """Ask for the next step of the shutdown."""
        self._requests += 1
        self._log.info(Event.WORKER_DRAINING, why=why, request=self._requests)
        if self._requests == 1:
            self._draining.set()
        elif self._requests == 2:
            self._hurried.set()
        else:
            self.last_act()
            logs.flush(wait_s=1.0)
            os._exit(1)

    async def watch_signals(self) -> None:
        """Turn signals into requests, for as long as this runs."""
        with anyio.open_signal_receiver(*_stopping_signals()) as received:
            async for number in received:
                self.request(signal.Signals(number).name)


def _stopping_signals() -> list[signal.Signals]:
    """The signals that stop a worker; a closed terminal is one, unless it was told not to care."""
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hangs_up else [])]
