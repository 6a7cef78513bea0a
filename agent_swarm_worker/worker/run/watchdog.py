"""Ends sessions that run too long, produce no output, or do not end when asked to.

Harnesses may be silent for minutes and then continue, so half of the silence limit is reported as
*stalled*, in the log and on the task, before the whole of it ends the session.

The limits come from the settings, per harness, and from tags of the task: ``timeout:45m`` and
``silence:15m``. A tag may always lower a limit, and raise it up to ``SWARM_TASK_LIMIT_MAX_S``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.clock import format_duration, parse_duration
from agent_swarm_worker.contract import RawLog, RawStderr
from agent_swarm_worker.contract.listening import listens_to
from agent_swarm_worker.guards.hangs import Hang, classify_hang, quote_line
from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import HangTexts, ProviderEvent
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.settings import Settings
    from agent_swarm_worker.worker.run.running_task import RunningTask

ABORT_TIMEOUT_S = 30.0
"""How long a session may take to end when asked; a harness process takes at most 14 s."""
MAX_TICK_S = 5.0
_MAX_LINES_AFTER = 3


class Watchdog:
    """Watches one session. `on_event` is a listener; `run` ends with the session.

    `report_progress` reports a line on the task; `hang_texts` are what the harness prints when it
    hangs. While `is_waiting`, the session waits for a person, and its silence does not count.
    """

    def __init__(
        self,
        task: RunningTask,
        *,
        limits: SessionLimits,
        report_progress: Callable[[str], None],
        clock: Clock,
        log: Log,
        hang_texts: HangTexts | None = None,
        is_waiting: Callable[[], bool] = lambda: False,
    ) -> None:
        self._hang_texts, self._is_waiting = hang_texts, is_waiting
        self._task, self._limits = task, limits
        self._report_progress, self._clock, self._log = report_progress, clock, log
        self._started_at_s = self._output_at_s = clock.monotonic()
        self._ended_at_s: float | None = None
        self._is_stalled = False
        self._last_line: str | bytes | None = None
        """The last line before a limit was hit."""
        self._lines_after: list[str | bytes] = []
        """Lines after the limit: the rest of a line, and the harness's output on the signal."""
        self._hang: Hang | None = None
        self.abort_scope = anyio.CancelScope()
        """Around the session; cancelled if the session does not end when asked to."""

    @listens_to(RawStderr)
    def on_event(self, event: ProviderEvent) -> None:
        """Record standard error, or any event of a session with a base of its own, as output."""
        self._record([event.content] if isinstance(event, (RawLog, RawStderr)) else ())

    def received(self, lines: Sequence[bytes]) -> None:
        """Record lines that were read together, perhaps none, as output."""
        self._record([line for line in lines if line])

    def _record(self, lines: Sequence[str | bytes]) -> None:
        before_s = self._output_at_s
        self._output_at_s = self._clock.monotonic()
        if lines and self._hang is None:
            self._last_line = lines[-1]
        elif lines:
            self._lines_after += lines[: _MAX_LINES_AFTER - len(self._lines_after)]
        if self._is_stalled and self._hang is None:
            self._is_stalled = False
            quiet_s = self._output_at_s - before_s
            self._log.info(Event.SESSION_STALLED, quiet_s=round(quiet_s), over=True)
            self._report(f"It goes on, after {format_duration(quiet_s)} without output")

    async def run(self) -> None:
        """End the session when a limit is passed; abandon it if it does not end then."""
        limits = self._limits
        known = [limit_s / 10 for limit_s in (limits.wall_s, limits.silence_s) if limit_s]
        while True:
            await self._clock.sleep(min([MAX_TICK_S, *known]))
            if self._task.ended_by is not None:
                self._abandon_if_late()
            else:
                await self._check_limits()

    def cause(self) -> str | None:
        """Return why the task was ended, and the hang that its last lines show."""
        if self._hang is None:
            return self._task.ended_by
        found = self._hang
        lines = [_text(line) for line in (self._last_line, *self._lines_after) if line is not None]
        last = quote_line(lines[0]) if lines else ""
        for number, line in enumerate(lines):
            found = classify_hang(self._hang, line, is_cut_off=number > 0, texts=self._hang_texts)
            if found is not self._hang:
                last = quote_line(line, is_cut_off=number > 0)
                break
        _, _, why = (self._task.ended_by or "").partition(": ")
        return f"{found}: {why}" + (f"; it said last: {last}" if last else "")

    async def _check_limits(self) -> None:
        wall_s, silence_s = self._limits.wall_s, self._limits.silence_s
        now_s = self._clock.monotonic()
        if self._is_waiting():
            self._output_at_s = now_s
        quiet_s = now_s - self._output_at_s
        if wall_s and now_s - self._started_at_s >= wall_s:
            await self._end(Hang.TIMEOUT, f"still running after {format_duration(wall_s)}")
        elif silence_s and quiet_s >= silence_s:
            await self._end(Hang.STALLED, f"no output for {format_duration(silence_s)}")
        elif silence_s and quiet_s >= silence_s / 2 and not self._is_stalled:
            self._is_stalled = True
            last = quote_line(_text(self._last_line)) if self._last_line is not None else ""
            self._log.warning(
                Event.SESSION_STALLED,
                quiet_s=round(quiet_s),
                ends_in_s=round(silence_s - quiet_s),
                said=last or None,
            )
            quiet, limit = format_duration(quiet_s), format_duration(silence_s)
            self._report(f"No output for {quiet}; it is ended after {limit}")

    async def _end(self, hang: Hang, why: str) -> None:
        self._hang = hang
        if not await self._task.end(f"{hang}: {why}"):
            self._hang = None

    def _abandon_if_late(self) -> None:
        now_s = self._clock.monotonic()
        if self._ended_at_s is None:
            self._ended_at_s = now_s
        elif now_s - self._ended_at_s >= ABORT_TIMEOUT_S and self._task.is_live:
            self._log.error(Event.SESSION_HUNG, why="it does not end when asked to")
            self.abort_scope.cancel()

    def _report(self, text: str) -> None:
        # Progress on a task that was paused or taken away would resume it.
        if self._task.is_live and self._task.ended_by is None:
            self._report_progress(text)


def _text(line: str | bytes) -> str:
    return line.decode("utf-8", "replace") if isinstance(line, bytes) else line


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """The limits of one session, in seconds; 0 = none."""

    wall_s: float = 0.0
    silence_s: float = 0.0


def limits_of(settings: Settings, *, harness: str, tags: Iterable[str], log: Log) -> SessionLimits:
    """Return the limits of a session: the operator's, and those in the task's tags.

    Invalid tags, and those above the maximum, are logged.
    """
    wall_s = settings.session_timeout_by_harness.get(harness, settings.session_timeout_s)
    silence_s = settings.session_silence_by_harness.get(harness, settings.session_silence_s)
    limit = partial(_tagged_limit, tuple(tags), max_s=settings.task_limit_max_s, log=log)
    return SessionLimits(
        wall_s=limit("timeout", own_s=wall_s), silence_s=limit("silence", own_s=silence_s)
    )


def _tagged_limit(tags: Iterable[str], name: str, *, own_s: float, max_s: float, log: Log) -> float:
    """Return the limit of the last tag of a name, up to the maximum; `own_s` without a tag."""
    limit_s, maximum_s = own_s, max(own_s or math.inf, max_s or math.inf)
    for tag in tags:
        key, colon, text = tag.partition(":")
        if not colon or key.strip().lower() != name:
            continue
        try:
            requested_s = parse_duration(text) or math.inf
        except ValueError as error:
            log.warning(Event.LIMIT_IGNORED, tag=tag[:100], why=str(error)[:200])
            continue
        limit_s = min(requested_s, maximum_s)
        if limit_s != requested_s:
            why = f"SWARM_TASK_LIMIT_MAX_S allows {limit_s:g} s"
            log.warning(Event.LIMIT_IGNORED, tag=tag[:100], why=why)
    return 0.0 if limit_s == math.inf else limit_s
