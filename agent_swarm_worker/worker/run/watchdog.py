"""Watches a session for the ways in which one never ends.

Two clocks: how long it runs, and how long it has said nothing. Real harnesses fall silent for
minutes and then go on, so silence is reported as *stalled*, to the operator and on the task,
halfway before the session is ended for it. A third one is for the session that was asked to end,
by whomever: one whose provider does not end it is left to itself.

How long a session may run, and how long it may say nothing: by default, by harness, by task.

The task has the last word, in its tags (the API has no field for it): ``timeout:45m`` and
``silence:15m``. It may always ask for less than the operator allows. More it gets up to
``SWARM_TASK_LIMIT_MAX_S``, so that no task can switch the guard off by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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

END_WITHIN_S = 30.0
"""How long a session may take to end when asked; a command line takes at most 14 s."""
MAX_TICK_S = 5.0
_MAX_LINES_SINCE = 3


class Watchdog:
    """Watches one session. `on_event` is a listener; `run` ends with the session.

    Args:
        task: whose session it is.
        limits: after which it is ended.
        say: puts a line of progress on the task.
        clock: time.
        log: where stalls are reported.
        hang_texts: what this harness says when it hangs.
    """

    def __init__(
        self,
        task: RunningTask,
        *,
        limits: SessionLimits,
        say: Callable[[str], None],
        clock: Clock,
        log: Log,
        hang_texts: HangTexts | None = None,
    ) -> None:
        self._hang_texts = hang_texts
        self._task, self._limits = task, limits
        self._say, self._clock, self._log = say, clock, log
        self._started_at_s = self._heard_at_s = clock.monotonic()
        self._asked_at_s: float | None = None
        self._is_stalled = False
        self._last_line: str | bytes | None = None
        """The last line before a limit was hit."""
        self._lines_since: list[str | bytes] = []
        """What came after a limit was hit: at most a line without an end, and what it said of
        the signal."""
        self._hang: Hang | None = None
        self.patience = anyio.CancelScope()
        """Around the session; cancelled if it does not end when it is asked to."""

    @listens_to(RawStderr)
    def on_event(self, event: ProviderEvent) -> None:
        """Take one event as a sign of life.

        A session that is built on `providers.kit.session` tells by `heard` that it lives, and hands
        over standard error only; any other session hands over all its events.
        """
        self._hear([event.content] if isinstance(event, (RawLog, RawStderr)) else ())

    def received(self, lines: Sequence[bytes]) -> None:
        """Take lines that were read together, perhaps none, as a sign of life."""
        self._hear([line for line in lines if line])

    def _hear(self, lines: Sequence[str | bytes]) -> None:
        heard_at_s = self._heard_at_s
        self._heard_at_s = self._clock.monotonic()
        if lines and self._hang is None:
            self._last_line = lines[-1]
        elif lines:
            self._lines_since += lines[: _MAX_LINES_SINCE - len(self._lines_since)]
        if self._is_stalled and self._hang is None:
            self._is_stalled = False
            quiet_s = self._heard_at_s - heard_at_s
            self._log.info(Event.SESSION_STALLED, quiet_s=round(quiet_s), over=True)
            self._tell(f"It goes on, after {format_duration(quiet_s)} without output")

    async def run(self) -> None:
        """End the session when a limit is passed, and give it up if it does not end then."""
        limits = self._limits
        known = [limit_s / 10 for limit_s in (limits.wall_s, limits.silence_s) if limit_s]
        while True:
            await self._clock.sleep(min([MAX_TICK_S, *known]))
            if self._task.ended_by is not None:
                self._give_up_in_time()
            else:
                await self._look()

    def cause(self) -> str | None:
        """Why the task was ended, with the session's last words weighed; to ask at its end."""
        if self._hang is None:
            return self._task.ended_by
        found = self._hang
        lines = [_text(line) for line in (self._last_line, *self._lines_since) if line is not None]
        last = quote_line(lines[0]) if lines else ""
        for number, line in enumerate(lines):
            found = classify_hang(self._hang, line, is_cut_off=number > 0, texts=self._hang_texts)
            if found is not self._hang:
                last = quote_line(line, is_cut_off=number > 0)
                break
        _, _, why = (self._task.ended_by or "").partition(": ")
        return f"{found}: {why}" + (f"; it said last: {last}" if last else "")

    async def _look(self) -> None:
        wall_s, silence_s = self._limits.wall_s, self._limits.silence_s
        quiet_s = self._quiet_s()
        if wall_s and self._clock.monotonic() - self._started_at_s >= wall_s:
            await self._end(Hang.TIMEOUT, f"still running after {format_duration(wall_s)}")
        elif silence_s and quiet_s >= silence_s:
            await self._end(Hang.STALLED, f"no output for {format_duration(silence_s)}")
        elif silence_s and quiet_s >= silence_s / 2 and not self._is_stalled:
            self._is_stalled = True
            said = quote_line(_text(self._last_line)) if self._last_line is not None else ""
            self._log.warning(
                Event.SESSION_STALLED,
                quiet_s=round(quiet_s),
                ends_in_s=round(silence_s - quiet_s),
                said=said or None,
            )
            quiet, limit = format_duration(quiet_s), format_duration(silence_s)
            self._tell(f"No output for {quiet}; it is ended after {limit}")

    async def _end(self, hang: Hang, why: str) -> None:
        self._hang = hang
        if not await self._task.end(f"{hang}: {why}"):
            self._hang = None

    def _give_up_in_time(self) -> None:
        now_s = self._clock.monotonic()
        if self._asked_at_s is None:
            self._asked_at_s = now_s
        elif now_s - self._asked_at_s >= END_WITHIN_S and self._task.is_live:
            self._log.error(Event.SESSION_HUNG, why="it does not end when asked to")
            self.patience.cancel()

    def _quiet_s(self) -> float:
        return self._clock.monotonic() - self._heard_at_s

    def _tell(self, words: str) -> None:
        # A word on a task that was paused or taken away would set it going again.
        if self._task.is_live and self._task.ended_by is None:
            self._say(words)


def _text(line: str | bytes) -> str:
    return line.decode("utf-8", "replace") if isinstance(line, bytes) else line


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """The limits of one session, in seconds; 0 = none."""

    wall_s: float = 0.0
    silence_s: float = 0.0


def limits_of(settings: Settings, *, harness: str, tags: Iterable[str], log: Log) -> SessionLimits:
    """Return the limits of a session.

    Args:
        settings: what the operator allows.
        harness: name of the adapter.
        tags: of the task; those that are no limits mean nothing here.
        log: told of tags that cannot be used, or not as they are.
    """
    wall_s = settings.session_timeout_by_harness.get(harness, settings.session_timeout_s)
    silence_s = settings.session_silence_by_harness.get(harness, settings.session_silence_s)
    asked = _Asked(tags, settings.task_limit_max_s, log)
    return SessionLimits(
        wall_s=asked.limit("timeout", own_s=wall_s),
        silence_s=asked.limit("silence", own_s=silence_s),
    )


class _Asked:
    """What a task asks for."""

    def __init__(self, tags: Iterable[str], max_s: float, log: Log) -> None:
        self._tags, self._max_s, self._log = tuple(tags), max_s, log

    def limit(self, name: str, *, own_s: float) -> float:
        """Return the limit the last tag of a name asks for, as far as it is allowed."""
        limit_s = own_s
        for tag in self._tags:
            key, colon, text = tag.partition(":")
            if not colon or key.strip().lower() != name:
                continue
            try:
                asked_s = parse_duration(text)
            except ValueError as error:
                self._log.warning(Event.LIMIT_IGNORED, tag=tag[:100], why=str(error)[:200])
                continue
            limit_s = min(asked_s or math.inf, self._most(own_s))
            if limit_s != (asked_s or math.inf):
                why = f"SWARM_TASK_LIMIT_MAX_S allows {limit_s:g} s"
                self._log.warning(Event.LIMIT_IGNORED, tag=tag[:100], why=why)
        return 0.0 if limit_s == math.inf else limit_s

    def _most(self, own_s: float) -> float:
        """What every session may have, a task may ask for."""
        return max(own_s or math.inf, self._max_s or math.inf)
