"""Notices when an agent does the same thing over and over.

The default profile is the public worker's algorithm with its numbers (harness reference 13): over
the last 40 calls, 8 equal ones warn and 15 block; two calls taking turns warn at 8 and block at 12;
twice that much patience where the arguments of an edit do not say what was edited.

It departs from that worker where that worker was wrong:

* **Progress is no loop.** A call counts as a repeat only if nothing came of the last one: the
  same arguments gave a result already seen, and no call unseen before stood in between. So polling
  with changing output passes, and so do rounds of editing and testing. Results are compared
  without clock times, durations and request ids. Without results all equal calls count, as there.
* **Waiting is no loop.** A call does not count if since the last one like it the agent waited, in
  that call or another, for `LoopProfile.spaced_s` or longer: who waits between two looks spends
  little. There, polling ends at the 15th look.
* **One odd call is no ping-pong.** The rarer of two alternating calls must make up a quarter of
  them. The trace ``B, A x 14`` was ``.......wwwwBwww``; it is ``........wwwwwww``.
* **Longer cycles are loops too.** Three to six calls repeated in the same order warn after three
  rounds and block after four (``ABC`` at the 12th call). There, they never block.
* **A call announced twice counts once**, by its id. There, two watchers block at the 8th call.
* **Arguments that cannot be compared** (nested too deeply) make that one call unlike any other.

The state is one session's, in memory, and bounded by the window.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from agent_swarm_worker.guards.call_hash import args_hash, is_low_cardinality, result_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopProfile:
    """How patient the detector is. Numbers are calls unless they say otherwise.

    Each ``_vague`` number takes the place of the one before it for calls whose arguments say too
    little (`call_hash.is_low_cardinality`).
    """

    window: int = 40
    min_calls: int = 8
    """Nothing is said before that many calls."""
    repeat_warn: int = 8
    repeat_block: int = 15
    repeat_block_vague: int = 24
    pingpong_warn: int = 6
    pingpong_warn_vague: int = 12
    pingpong_block: int = 12
    pingpong_block_vague: int = 24
    pingpong_share: float = 0.8
    """How much of the recent calls the two must make up."""
    pingpong_rarer_share: float = 0.25
    """How much of the two the rarer one must make up."""
    longest_cycle: int = 6
    cycle_warn_rounds: int = 3
    cycle_block_rounds: int = 4
    spaced_s: float = 15.0
    """Seconds from the start of one call to that of the next that are a wait."""


DEFAULT: Final = LoopProfile()


@dataclass(frozen=True, slots=True)
class LoopVerdict:
    """What to think of a call."""

    level: Literal["ok", "warn", "block"]
    reason: str = ""


_OK: Final = LoopVerdict("ok")


@dataclass(slots=True, eq=False)
class _Call:
    pattern: tuple[str, str]
    call_id: str
    started_s: float
    is_vague: bool
    is_new: bool
    """Not seen before in the window."""
    is_spaced: bool
    """Seen before, but there was a wait in between."""
    is_repeat: bool
    """Seen before, and nothing has moved since."""
    result: bytes | None = None
    has_news: bool = False
    """Its result is unlike the earlier ones of the same call."""


class ToolLoopDetector:
    """Watches the tool calls of one session.

    Args:
        clock: tells how far apart calls are.
        profile: how patient to be.
    """

    def __init__(self, clock: Clock, profile: LoopProfile = DEFAULT) -> None:
        self._clock = clock
        self._profile = profile
        # The call at hand is looked at together with a full window.
        self._calls: deque[_Call] = deque(maxlen=profile.window + 1)

    def started(self, tool_name: str, args: Any, call_id: str = "") -> LoopVerdict:
        """Take a call that begins; say whether it looks like a loop."""
        pattern = (tool_name, args_hash(args))
        if not self._is_known(pattern, call_id):
            self._calls.append(self._new_call(pattern, call_id, args))
        calls = list(self._calls)
        if len(calls) < self._profile.min_calls:
            return _OK
        verdicts = (
            _judge_repeats(calls, self._profile),
            _judge_pingpong(calls, self._profile),
            _judge_cycles(calls, self._profile),
        )
        for level in ("block", "warn"):
            for verdict in verdicts:
                if verdict.level == level:
                    return verdict
        return _OK

    def ended(self, call_id: str, result: Any) -> None:
        """Take the result of a call; a new one shows that things move."""
        call = next((c for c in reversed(self._calls) if c.call_id == call_id), None)
        if call is None or call.result is not None:
            return
        call.result = result_digest(result)
        seen = [
            c.result
            for c in self._calls
            if c is not call and c.pattern == call.pattern and c.result is not None
        ]
        call.has_news = bool(seen) and call.result not in seen

    def _is_known(self, pattern: tuple[str, str], call_id: str) -> bool:
        return call_id != "" and any(
            call.call_id == call_id and call.pattern == pattern and call.result is None
            for call in self._calls
        )

    def _new_call(self, pattern: tuple[str, str], call_id: str, args: Any) -> _Call:
        now_s = self._clock.monotonic()
        since: list[_Call] = []
        previous = None
        for call in reversed(self._calls):
            if call.pattern == pattern:
                previous = call
                break
            since.append(call)
        moments_s = [now_s, *(call.started_s for call in since)]
        if previous is not None:
            moments_s.append(previous.started_s)
        is_spaced = previous is not None and any(
            later_s - earlier_s >= self._profile.spaced_s
            for later_s, earlier_s in itertools.pairwise(moments_s)
        )
        moved = any(call.is_new or call.has_news for call in since)
        return _Call(
            pattern=pattern,
            call_id=call_id,
            started_s=now_s,
            is_vague=is_low_cardinality(pattern[0], args),
            is_new=previous is None,
            is_spaced=is_spaced,
            is_repeat=previous is not None and not (is_spaced or moved or previous.has_news),
        )


def _judge_repeats(calls: Sequence[_Call], profile: LoopProfile) -> LoopVerdict:
    call = calls[-1]
    count = 1 + sum(c.is_repeat for c in calls if c.pattern == call.pattern)
    limit = profile.repeat_block_vague if call.is_vague else profile.repeat_block
    reason = f"{call.pattern[0]} was called {count} times with the same arguments and no news"
    return _verdict(count, profile.repeat_warn, limit, reason)


def _judge_pingpong(calls: Sequence[_Call], profile: LoopProfile) -> LoopVerdict:
    vague = any(call.is_vague for call in calls)
    warn = profile.pingpong_warn_vague if vague else profile.pingpong_warn
    block = profile.pingpong_block_vague if vague else profile.pingpong_block
    recent = calls[-block:]
    pairs = Counter(call.pattern for call in recent).most_common(2)
    if len(pairs) < 2 or _moves(recent):
        return _OK
    (often, often_count), (rarer, rarer_count) = pairs
    count = often_count + rarer_count
    if (
        count < profile.pingpong_share * len(recent)
        or rarer_count < profile.pingpong_rarer_share * count
    ):
        return _OK
    reason = f"{often[0]} and {rarer[0]} took turns for {count} calls and brought no news"
    return _verdict(count, warn, block, reason)


def _judge_cycles(calls: Sequence[_Call], profile: LoopProfile) -> LoopVerdict:
    patience = 2 if any(call.is_vague for call in calls) else 1
    found = _OK
    for period in range(3, profile.longest_cycle + 1):
        length = _cycle_length(calls, period)
        warn = period * profile.cycle_warn_rounds * patience
        block = min(period * profile.cycle_block_rounds * patience, profile.window)
        tools = ", ".join(call.pattern[0] for call in calls[-period:])
        reason = f"{tools} came round for {length} calls and brought no news"
        verdict = _verdict(length, warn, block, reason)
        if verdict.level == "block":
            return verdict
        if verdict.level == "warn":
            found = verdict
    return found


def _cycle_length(calls: Sequence[_Call], period: int) -> int:
    """How many of the last calls are one sequence of `period` calls again and again."""
    if len({call.pattern for call in calls[-period:]}) < 2:
        return 0
    length = 0
    for position in range(len(calls) - 1, -1, -1):
        later = position + period
        if later < len(calls) and calls[position].pattern != calls[later].pattern:
            break
        if _moves(calls[position : position + 1]):
            break
        length += 1
    return length if length > period else 0


def _moves(calls: Sequence[_Call]) -> bool:
    return any(call.is_spaced or call.has_news for call in calls)


def _verdict(count: int, warn: int, block: int, reason: str) -> LoopVerdict:
    if count >= block:
        return LoopVerdict("block", reason)
    return LoopVerdict("warn", reason) if count >= warn else _OK
