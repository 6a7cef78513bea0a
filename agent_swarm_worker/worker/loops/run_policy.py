"""When the worker polls, how long it pauses between polls, and when it leaves."""

from __future__ import annotations

import random
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from agent_swarm_worker.aio import wait_any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.worker.loops.shutdown import Shutdown
    from agent_swarm_worker.worker.run.running_task import Slots

JITTER = (0.9, 1.1)
"""Factors of the poll interval, so that many workers do not poll in step."""
BUDGET_BACKOFF_S = 2.0
MAX_BUDGET_BACKOFF_S = 300.0
LOCKED_OUT_PAUSE_S = 30.0


class Polled(Enum):
    """What came of a poll, as far as the next one depends on it."""

    BEGUN = auto()
    """A task was begun."""
    IGNORED = auto()
    """A trigger that begins nothing."""
    NOTHING = auto()
    """No trigger, or no answer."""
    OVER_BUDGET = auto()
    """The server gives no work for now: a budget is used up."""
    LOCKED_OUT = auto()
    """The API refuses our key."""


class RunPolicy:
    """The poll loop asks this object whether to go on, whether to poll, and how long to pause.

    Today's rules: poll while a slot is free; leave when a shutdown is asked for.

    Args:
        slots: the tasks that run, and room for more.
        shutdown: says when to leave.
        clock: time.
        interval_s: returns the configured seconds between two polls, which may change.
    """

    def __init__(
        self, *, slots: Slots, shutdown: Shutdown, clock: Clock, interval_s: Callable[[], float]
    ) -> None:
        self._slots, self._shutdown, self._clock = slots, shutdown, clock
        self._interval_s = interval_s
        self.refusals = 0
        """How often in a row the server gave no work for want of a budget."""

    @property
    def leaves(self) -> bool:
        """True once nothing more is to be claimed."""
        return self._shutdown.is_draining

    @property
    def may_poll(self) -> bool:
        """True while a task that a poll claims could be begun."""
        return self._slots.has_room and not self.leaves

    async def until_leaving(self) -> None:
        """Return when nothing more is to be claimed."""
        await self._shutdown.wait_draining()

    async def unless_leaving(self, wait: Callable[[], Awaitable[None]]) -> bool:
        """Wait for something; false if it is time to leave, which cuts the wait short."""
        await wait_any(wait, self.until_leaving)
        return not self.leaves

    async def room(self) -> bool:
        """Wait until a task could be begun; false if it is time to leave."""
        return await self.unless_leaving(self._slots.wait_free)

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until it is time to leave."""
        if seconds:
            await self.unless_leaving(partial(self._clock.sleep, seconds))

    def pause_s(self, polled: Polled) -> float:
        """Return the seconds until the next poll; after refusals in a row ever more."""
        if polled is Polled.OVER_BUDGET:
            self.refusals += 1
            return min(MAX_BUDGET_BACKOFF_S, BUDGET_BACKOFF_S * 2.0 ** (self.refusals - 1))
        if polled in {Polled.BEGUN, Polled.IGNORED}:
            self.refusals = 0
        match polled:
            case Polled.BEGUN:
                return 0.0
            case Polled.LOCKED_OUT:
                return LOCKED_OUT_PAUSE_S
            case Polled.IGNORED:
                return self._interval_s()
            case _:
                spread = random.uniform(*JITTER)  # noqa: S311 - spreads load, guards nothing
                return self._interval_s() * spread
