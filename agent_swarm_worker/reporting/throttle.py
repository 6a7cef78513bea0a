"""At most one value per interval, and never the wrong one last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.clock import Clock

T = TypeVar("T")


class Throttle(Generic[T]):
    """Lets the first value through at once and then the *latest* one of each interval.

    A throttle that drops the excess leaves a task saying what it did minutes ago; this one keeps
    the newest value back and sends it when the interval ends.
    """

    def __init__(self, *, interval_s: float, send: Callable[[T], None], clock: Clock) -> None:
        self._interval_s, self._send, self._clock = interval_s, send, clock
        self._sent_at: float | None = None
        self._waiting: list[T] = []

    def offer(self, value: T) -> None:
        """Send `value` now if the interval is over, else keep it in place of an older one."""
        self._waiting = [value]
        self.tick()

    def tick(self) -> None:
        """Send what was kept back, if it is time."""
        now = self._clock.monotonic()
        if self._sent_at is None or now - self._sent_at >= self._interval_s:
            self.flush()

    def flush(self) -> None:
        """Send what was kept back, time or not."""
        if self._waiting:
            self._send(self._waiting[0])
            self._waiting.clear()
            self._sent_at = self._clock.monotonic()

    def drop(self) -> None:
        """Forget what was kept back."""
        self._waiting.clear()
