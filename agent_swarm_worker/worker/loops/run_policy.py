"""Decides when the worker polls, how long it pauses between polls, and when it stops."""

from __future__ import annotations

import os
import random
import time
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker import logs
from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.logs import Event
from agent_swarm_worker.processes import signals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.worker.run.running_task import Slots

JITTER = (0.9, 1.1)
"""Factors of the poll interval, so that many workers do not poll in step."""
BUDGET_BACKOFF_S = 2.0
MAX_BUDGET_BACKOFF_S = 300.0
UNAUTHORIZED_PAUSE_S = 30.0
RESERVE_S = 2.0
"""The part of a shutdown's budget for finishing a task whose session is over; and for closing."""


class PollResult(Enum):
    """The result of a poll, as far as the next one depends on it."""

    BEGUN = auto()
    IGNORED = auto()
    """A trigger that begins no task."""
    NOTHING = auto()
    """No trigger, or no answer."""
    OVER_BUDGET = auto()
    UNAUTHORIZED = auto()
    """The API refuses the key."""


class RunPolicy:
    """The rules of the poll loop: poll while a slot is free, stop when a shutdown begins.

    `interval_s` returns the configured seconds between two polls, which may change.
    """

    def __init__(
        self, *, slots: Slots, shutdown: Shutdown, clock: Clock, interval_s: Callable[[], float]
    ) -> None:
        self._slots, self._shutdown, self._clock = slots, shutdown, clock
        self._interval_s = interval_s
        self.refusals = 0
        """Budget refusals in a row."""

    @property
    def is_leaving(self) -> bool:
        """True once a shutdown began."""
        return self._shutdown.is_draining

    @property
    def may_poll(self) -> bool:
        """True while a slot is free and no shutdown began."""
        return self._slots.has_room and not self.is_leaving

    async def until_leaving(self) -> None:
        """Return when a shutdown begins."""
        await self._shutdown.draining.wait()

    async def unless_leaving(self, wait: Callable[[], Awaitable[None]]) -> bool:
        """Await a call; false if a shutdown began, which cancels the call."""
        await wait_any(wait, self.until_leaving)
        return not self.is_leaving

    async def wait_for_slot(self) -> bool:
        """Wait until a slot is free; false if a shutdown began."""
        return await self.unless_leaving(self._slots.wait_free)

    async def pause(self, seconds: float) -> None:
        """Wait for a time, or until a shutdown begins."""
        if seconds:
            await self.unless_leaving(partial(self._clock.sleep, seconds))

    def pause_s(self, polled: PollResult) -> float:
        """Return the seconds until the next poll; budget refusals in a row double them."""
        if polled is PollResult.OVER_BUDGET:
            self.refusals += 1
            return min(MAX_BUDGET_BACKOFF_S, BUDGET_BACKOFF_S * 2.0 ** (self.refusals - 1))
        if polled in {PollResult.BEGUN, PollResult.IGNORED}:
            self.refusals = 0
        match polled:
            case PollResult.BEGUN:
                return 0.0
            case PollResult.UNAUTHORIZED:
                return UNAUTHORIZED_PAUSE_S
            case PollResult.IGNORED:
                return self._interval_s()
            case _:
                spread = random.uniform(*JITTER)  # noqa: S311 - spreads load, guards nothing
                return self._interval_s() * spread


class Shutdown:
    """The stage of the shutdown: loops read it, signals and `request` advance it."""

    def __init__(self, *, log: Log) -> None:
        self.polling_over = anyio.Event()
        """Set when no further poll can claim a task."""
        self.before_exit: Callable[[], None] = lambda: None
        """Called by the third request, before the process exits."""
        self._log = log
        self._requests = 0
        self._began_s = 0.0
        self.draining = anyio.Event()
        """Set by the first request."""
        self.hurried = anyio.Event()
        """Set by the second request."""

    @property
    def is_draining(self) -> bool:
        """True from the first request on."""
        return self.draining.is_set()

    def request(self, why: str) -> None:
        """Advance the shutdown by one stage."""
        self._requests += 1
        self._log.info(Event.WORKER_DRAINING, why=why, request=self._requests)
        if self._requests == 1:
            self._began_s = time.monotonic()
            self.draining.set()
        elif self._requests == 2:
            self.hurried.set()
        else:
            self.before_exit()
            logs.flush(wait_s=1.0)
            os._exit(1)

    def left_s(self, budget_s: float) -> float:
        """Return how long a session may still take to end, in a shutdown with this budget."""
        reserve_s = 2 * min(RESERVE_S, budget_s / 6)
        return max(0.0, self._began_s + budget_s - reserve_s - time.monotonic())

    async def watch_signals(self) -> None:
        """Turn signals into requests, until cancelled."""
        stopping, others = signals.stopping(unless_ignored=False), signals.without_meaning()
        with anyio.open_signal_receiver(*stopping, *others) as received:
            async for number in received:
                if number in others:
                    self._log.warning(Event.SIGNAL_IGNORED, signal=signals.name_of(number))
                else:
                    self.request(signals.name_of(number))
