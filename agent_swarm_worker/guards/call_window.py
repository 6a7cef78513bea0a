"""Keep the last tool calls of a session, and the counts that the loop detector asks for.

The counts are updated as calls come and go, so a call costs the same however many are in the
window. Calls have ascending numbers; "since" is a comparison of numbers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from agent_swarm_worker.guards.calls import CallResult, ResultBudget, args_key, is_low_cardinality

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORTEST_CYCLE: Final = 3
_NEVER: Final = 0
"""Before the number of the first call, which is 1."""


@dataclass(slots=True, eq=False)
class Pattern:
    """A tool with a set of arguments; exists while a call of it is in the window."""

    tool_name: str
    key: tuple[str, bytes | str]
    calls: list[Call] = field(default_factory=list)
    """Oldest first."""
    repeats: int = 0
    """How many of them are repeats."""
    recent: int = 0
    """How many of them are among the recent calls."""


@dataclass(slots=True, eq=False)
class Call:
    """One tool call."""

    pattern: Pattern
    call_id: str
    number: int
    is_vague: bool = False
    is_new: bool = False
    """Not seen before in the window."""
    is_spaced: bool = False
    """Seen before, but there was a wait in between."""
    is_repeat: bool = False
    """Seen before, without a wait, a new call or a new result since."""
    result: CallResult | None = None
    has_new_result: bool = False
    """Its result differs from the earlier ones of the same pattern."""


class CallWindow:
    """The latest call and the `size` calls before it.

    Args:
        size: in calls.
        spaced_s: seconds from the start of one call to that of the next that count as a wait.
        longest_cycle: in calls; cycles from three calls up to it are counted.
        recent: how many calls count as recent, without and with vague calls in the window.
        budget: for the results that are kept.
    """

    def __init__(
        self,
        size: int,
        *,
        spaced_s: float,
        longest_cycle: int,
        recent: tuple[int, int],
        budget: ResultBudget,
    ) -> None:
        self._size = size + 1
        self._spaced_s = spaced_s
        self._recent_sizes = recent
        self._calls: deque[Call] = deque()
        self._patterns: dict[tuple[str, bytes | str], Pattern] = {}
        self._by_id: dict[str, Call] = {}
        """The latest call of each id."""
        self._unanswered: dict[tuple[str, Pattern], int] = {}
        """How many calls of an id and a pattern have no result."""
        self._budget = budget
        self._vague = 0
        self._recent_size = recent[0]
        self._started_at_s = 0.0
        self._number = _NEVER
        self._last_wait = self._last_new_call = self._last_new_result = self._last_spaced = _NEVER
        """Numbers of the latest call after a wait, not seen before, with a new result, spaced."""
        self._matches = [0] * (longest_cycle + 1)
        """By period: how many of the last calls in a row equal the one a period before."""
        self.distinct_recent = 0
        """How many patterns the recent calls have."""

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def latest(self) -> Call:
        """The last call; there must be one."""
        return self._calls[-1]

    @property
    def has_vague(self) -> bool:
        """True if the arguments of any call say too little (`is_low_cardinality`)."""
        return self._vague > 0

    @property
    def recent_count(self) -> int:
        """How many recent calls there are."""
        return min(len(self._calls), self._recent_size)

    @property
    def without_progress(self) -> int:
        """How many of the last calls in a row were neither spaced nor had a new result."""
        return self._number - max(self._last_spaced, self._last_new_result)

    def last(self, count: int) -> Sequence[Call]:
        """Return the last `count` calls, or all if there are fewer."""
        size = len(self._calls)
        return [self._calls[at] for at in range(max(0, size - count), size)]

    def cycle_length(self, period: int) -> int:
        """Return how many of the last calls repeat one sequence of `period` calls."""
        length = min(len(self._calls), period + self._matches[period], self.without_progress)
        return length if length > period else 0

    def add(self, tool_name: str, args: Any, call_id: str, now_s: float) -> None:
        """Add a call that begins, unless the same call was announced before and has no result."""
        key = (tool_name, args_key(args))
        pattern = self._patterns.get(key)
        if pattern is None:
            pattern = self._patterns[key] = Pattern(tool_name, key)
        elif call_id and (call_id, pattern) in self._unanswered:
            return
        previous = pattern.calls[-1] if pattern.calls else None
        self._number += 1
        call = Call(pattern, call_id, self._number)
        call.is_vague = is_low_cardinality(tool_name, args)
        if self._calls and now_s - self._started_at_s >= self._spaced_s:
            self._last_wait = self._number
        self._started_at_s = now_s
        if previous is None:
            call.is_new = True
        else:
            # The numbers of the calls since the previous one are greater than its own.
            call.is_spaced = self._last_wait > previous.number
            has_progress = max(self._last_new_call, self._last_new_result) > previous.number
            call.is_repeat = not (call.is_spaced or has_progress or previous.has_new_result)
        self._append(call)

    def end(self, call_id: str, result: Any) -> None:
        """Record the result of the latest call with that id."""
        call = self._by_id.get(call_id)
        if call is None or call.result is not None:
            return
        self._forget_unanswered(call)
        call.result = CallResult(result, self._budget, call_id)
        if len(call.pattern.calls) == 1:
            return
        seen = [c.result for c in call.pattern.calls if c is not call and c.result is not None]
        for earlier in seen:
            if call.result.is_same(earlier):
                call.result.release()
                call.result = earlier.retain()
                return
        if seen:
            call.has_new_result = True
            self._last_new_result = max(self._last_new_result, call.number)

    def release(self) -> None:
        """Return what the window's results take of the budget; the window is not used again."""
        for call in self._calls:
            if call.result is not None:
                call.result.release()

    def _append(self, call: Call) -> None:
        pattern = call.pattern
        self._count_matches(call)
        if len(self._calls) >= self._recent_size:
            self._leave_recent(self._calls[-self._recent_size])
        pattern.recent += 1
        self.distinct_recent += pattern.recent == 1
        self._calls.append(call)
        pattern.calls.append(call)
        pattern.repeats += call.is_repeat
        self._vague += call.is_vague
        if call.is_new:
            self._last_new_call = call.number
        if call.is_spaced:
            self._last_spaced = call.number
        self._by_id[call.call_id] = call
        key = (call.call_id, pattern)
        self._unanswered[key] = self._unanswered.get(key, 0) + 1
        if len(self._calls) > self._size:
            self._forget(self._calls.popleft())
        if self._vague or self._recent_size != self._recent_sizes[0]:
            self._resize_recent(self._recent_sizes[self.has_vague])

    def _count_matches(self, call: Call) -> None:
        """Update `_matches` for `call`, which is not in the window yet."""
        matches = self._matches
        if call.is_new:
            if any(matches):
                self._matches = [0] * len(matches)
            return
        calls, size = self._calls, len(self._calls)
        for period in range(SHORTEST_CYCLE, len(matches)):
            is_equal = period <= size and calls[-period].pattern is call.pattern
            matches[period] = matches[period] + 1 if is_equal else 0

    def _forget(self, call: Call) -> None:
        pattern = call.pattern
        pattern.calls.pop(0)
        pattern.repeats -= call.is_repeat
        if not pattern.calls:
            del self._patterns[pattern.key]
        self._vague -= call.is_vague
        if self._by_id[call.call_id] is call:
            del self._by_id[call.call_id]
        if call.result is None:
            self._forget_unanswered(call)
        else:
            call.result.release()

    def _forget_unanswered(self, call: Call) -> None:
        key = (call.call_id, call.pattern)
        self._unanswered[key] -= 1
        if not self._unanswered[key]:
            del self._unanswered[key]

    def _leave_recent(self, call: Call) -> None:
        call.pattern.recent -= 1
        self.distinct_recent -= call.pattern.recent == 0

    def _resize_recent(self, size: int) -> None:
        if size == self._recent_size:
            return
        for call in self.last(self._recent_size):
            self._leave_recent(call)
        self._recent_size = size
        for call in self.last(size):
            call.pattern.recent += 1
            self.distinct_recent += call.pattern.recent == 1
