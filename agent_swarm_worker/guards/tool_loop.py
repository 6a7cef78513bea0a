"""End a session whose agent repeats the same tool calls.

The default profile has the numbers of the public worker (docs/tool-loops.md): within the last 40
calls, 8 equal ones warn and 15 block; two alternating calls warn at 8 and block at 12; all of them
doubled where the arguments of an edit do not say what was edited.

The rules differ from that worker's where it was wrong:

* **Progress is no loop.** A call is a repeat only if the same arguments gave a result that was seen
  before, and no new call stood in between. Without results all equal calls count.
* **Waiting is no loop.** A call does not count if `LoopProfile.spaced_s` or more passed between two
  calls since the last one like it.
* **One odd call is no ping-pong.** The rarer of two alternating calls must make up a quarter of
  them. The trace ``B, A x 14`` was ``.......wwwwBwww``; it is ``........wwwwwww``.
* **Longer cycles are loops too.** Three to six calls repeated in the same order warn after three
  rounds and block after four (``ABC`` at the 12th call).
* **A call announced twice counts once**, by its id.
* **Every agent is counted apart**: helpers that each read the same file once are no loop.
* **Arguments that cannot be compared** (nested too deeply) make that one call unlike any other.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from agent_swarm_worker.contract import ProviderEvent, ToolEnd, ToolStart
from agent_swarm_worker.contract.listening import listens_to
from agent_swarm_worker.guards.call_window import SHORTEST_CYCLE, CallWindow
from agent_swarm_worker.guards.calls import ResultBudget
from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Helper
    from agent_swarm_worker.logs import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopProfile:
    """The thresholds of the detector, in calls unless they say otherwise.

    Each ``_vague`` number replaces the one before it for calls whose arguments say too little
    (`calls.is_low_cardinality`).
    """

    window: int = 40
    min_calls: int = 8
    """No call is judged before that many calls."""
    repeat_warn: int = 8
    repeat_block: int = 15
    repeat_block_vague: int = 24
    pingpong_warn: int = 6
    pingpong_warn_vague: int = 12
    pingpong_block: int = 12
    pingpong_block_vague: int = 24
    pingpong_share: float = 0.8
    """The least share of the recent calls that the two make up."""
    pingpong_rarer_share: float = 0.25
    """The least share of the two that the rarer one makes up."""
    longest_cycle: int = 6
    cycle_warn_rounds: int = 3
    cycle_block_rounds: int = 4
    spaced_s: float = 15.0
    """Seconds from the start of one call to that of the next that count as a wait."""


DEFAULT: Final = LoopProfile()
MAX_HELPERS: Final = 100
"""Detectors of helpers that one session keeps: those of the latest to act."""


@dataclass(frozen=True, slots=True)
class LoopVerdict:
    """Whether a call looks like a loop, and why."""

    level: Literal["ok", "warn", "block"]
    reason: str = ""


_OK: Final = LoopVerdict("ok")
_ALL_OK: Final = (_OK, _OK, _OK)


class ToolLoopDetector:
    """Judges each tool call of one agent, in microseconds however many calls the window holds."""

    def __init__(
        self, clock: Clock, profile: LoopProfile = DEFAULT, budget: ResultBudget | None = None
    ) -> None:
        self._clock = clock
        self._profile = profile
        self._window = CallWindow(
            profile.window,
            spaced_s=profile.spaced_s,
            longest_cycle=profile.longest_cycle,
            recent=(
                min(profile.pingpong_block, profile.window + 1),
                min(profile.pingpong_block_vague, profile.window + 1),
            ),
            budget=budget or ResultBudget(),
        )

    def started(self, tool_name: str, args: Any, call_id: str = "") -> LoopVerdict:
        """Judge a call that begins."""
        window, profile = self._window, self._profile
        window.add(tool_name, args, call_id, self._clock.monotonic())
        if len(window) < profile.min_calls:
            return _OK
        verdicts = (
            _judge_repeats(window, profile),
            _judge_pingpong(window, profile),
            _judge_cycles(window, profile),
        )
        if verdicts == _ALL_OK:
            return _OK
        return next(
            verdict for level in ("block", "warn") for verdict in verdicts if verdict.level == level
        )

    def ended(self, call_id: str, result: Any) -> None:
        """Record the result of a call."""
        self._window.end(call_id, result)

    def release(self) -> None:
        """Return what its results take of the budget; the detector is not used again."""
        self._window.release()


def _judge_repeats(window: CallWindow, profile: LoopProfile) -> LoopVerdict:
    call = window.latest
    count = 1 + call.pattern.repeats
    if count < profile.repeat_warn and count < profile.repeat_block:
        return _OK
    limit = profile.repeat_block_vague if call.is_vague else profile.repeat_block
    tool = call.pattern.tool_name
    reason = f"{tool} was called {count} times with the same arguments and no new result"
    return _verdict(count, profile.repeat_warn, limit, reason)


def _judge_pingpong(window: CallWindow, profile: LoopProfile) -> LoopVerdict:
    distinct, size = window.distinct_recent, window.recent_count
    # Each further pattern has at least one of the recent calls, which the two then lack.
    at_most = size - (distinct - 2)
    if distinct < 2 or at_most < profile.pingpong_share * size or window.without_progress < size:
        return _OK
    vague = window.has_vague
    warn = profile.pingpong_warn_vague if vague else profile.pingpong_warn
    block = profile.pingpong_block_vague if vague else profile.pingpong_block
    pairs = Counter(call.pattern for call in window.last(size)).most_common(2)
    (often, often_count), (rarer, rarer_count) = pairs
    count = often_count + rarer_count
    if count < profile.pingpong_share * size or rarer_count < profile.pingpong_rarer_share * count:
        return _OK
    tools = f"{often.tool_name} and {rarer.tool_name}"
    return _verdict(
        count, warn, block, f"{tools} alternated for {count} calls without a new result"
    )


def _judge_cycles(window: CallWindow, profile: LoopProfile) -> LoopVerdict:
    if window.latest.is_new:
        return _OK  # a cycle returns to earlier calls
    factor = 2 if window.has_vague else 1
    found = _OK
    for period in range(SHORTEST_CYCLE, profile.longest_cycle + 1):
        length = window.cycle_length(period)
        warn = period * profile.cycle_warn_rounds * factor
        block = min(period * profile.cycle_block_rounds * factor, profile.window)
        if length < warn and length < block:
            continue
        last = window.last(period)
        if len({call.pattern for call in last}) < 2:
            continue
        tools = ", ".join(call.pattern.tool_name for call in last)
        reason = f"{tools} repeated for {length} calls without a new result"
        verdict = _verdict(length, warn, block, reason)
        if verdict.level == "block":
            return verdict
        found = verdict
    return found


def _verdict(count: int, warn: int, block: int, reason: str) -> LoopVerdict:
    if count >= block:
        return LoopVerdict("block", reason)
    return LoopVerdict("warn", reason) if count >= warn else _OK


class ToolLoopGuard:
    """Listens to a session and calls `on_loop` with the reason when a detector blocks.

    The main agent and each of its helpers have a detector of their own.
    """

    def __init__(self, on_loop: Callable[[str], None], *, clock: Clock, log: Log) -> None:
        self._clock = clock
        self._budget = ResultBudget()
        self._main = ToolLoopDetector(clock, budget=self._budget)
        self._helpers: OrderedDict[str, ToolLoopDetector] = OrderedDict()
        self._on_loop = on_loop
        self._log = log
        self._has_tripped = False

    @listens_to(ToolStart, ToolEnd)
    def on_event(self, event: ProviderEvent) -> None:
        """Judge tool calls and record their results."""
        if not isinstance(event, (ToolStart, ToolEnd)):
            return
        helper = event.helper
        detector = self._main if helper is None else self._of(helper)
        if isinstance(event, ToolEnd):
            detector.ended(event.tool_call_id, event.result)
        if not isinstance(event, ToolStart) or self._has_tripped:
            return
        verdict = detector.started(event.tool_name, event.args, event.tool_call_id)
        if verdict.level == "ok":
            return
        speaker = f"{helper.name or 'a helper'}: " if helper else ""
        self._log.warning(Event.TOOL_LOOP, verdict=verdict.level, why=speaker + verdict.reason)
        if verdict.level == "block":
            self._has_tripped = True
            self._on_loop(f"tool-loop: {speaker}{verdict.reason}")

    def _of(self, helper: Helper) -> ToolLoopDetector:
        detector = self._helpers.get(helper.id)
        if detector is None:
            detector = ToolLoopDetector(self._clock, budget=self._budget)
            self._helpers[helper.id] = detector
            if len(self._helpers) > MAX_HELPERS:
                self._helpers.popitem(last=False)[1].release()
        self._helpers.move_to_end(helper.id)
        return detector
