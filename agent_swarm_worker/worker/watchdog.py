"""Two clocks for each session: how long it runs, and how long it has said nothing.

Real harnesses fall silent for minutes and then go on, so silence is reported as *stalled* halfway
before the session is ended for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import ProviderEvent
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.worker.slots import RunningTask


class Watchdog:
    """Watches one session. `on_event` is a listener; `run` ends with the session."""

    def __init__(
        self, task: RunningTask, *, wall_s: float, silence_s: float, clock: Clock, log: Log
    ) -> None:
        self._task = task
        self._wall_s = wall_s
        self._silence_s = silence_s
        self._clock = clock
        self._log = log
        self._started_at_s = self._heard_at_s = clock.monotonic()
        self._is_stalled = False

    def on_event(self, _: ProviderEvent) -> None:
        """Any event counts as a sign of life."""
        self._heard_at_s = self._clock.monotonic()
        self._is_stalled = False

    async def run(self) -> None:
        """End the session when one of the limits (seconds; 0 = none) is passed."""
        if not self._wall_s and not self._silence_s:
            return
        tick_s = min(5.0, *(limit / 10 for limit in (self._wall_s, self._silence_s) if limit))
        while True:
            await self._clock.sleep(tick_s)
            now_s = self._clock.monotonic()
            quiet_s = now_s - self._heard_at_s
            if self._wall_s and now_s - self._started_at_s >= self._wall_s:
                await self._task.end(f"timeout: still running after {self._wall_s:g} s")
                return
            if self._silence_s and quiet_s >= self._silence_s:
                await self._task.end(f"stalled: no output for {self._silence_s:g} s")
                return
            if self._silence_s and quiet_s >= self._silence_s / 2 and not self._is_stalled:
                self._is_stalled = True
                self._log.warning(Event.SESSION_STALLED, quiet_s=round(quiet_s))
