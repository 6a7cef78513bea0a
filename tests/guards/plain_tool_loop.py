"""The loop detector in its plainest form: the model that the real one must agree with.

It looks at the whole window at every call, hashes all arguments and digests all results. Slow, and
easy to check against the rules at the head of `guards.tool_loop`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent_swarm_worker.clock import Clock
from agent_swarm_worker.guards.tool_loop import DEFAULT, LoopProfile, LoopVerdict

_OK: Final = LoopVerdict("ok")
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_HASHED_CHARS: Final = 64 * 1024
"""Of longer arguments the rest goes through a faster hash first."""
_MAX_NORMALISED_CHARS: Final = 256 * 1024
_LARGEST_PLAIN_FLOAT: Final = 1e21
"""From here on JavaScript prints exponents."""
_VAGUE_TOOLS: Final = frozenset({"Edit", "Write", "Delete"})
_CHANGE_KINDS: Final = frozenset({"add", "update", "delete"})

_NOISE: Final = re.compile(
    r"""
      \b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?Z?)?\b  # dates
    | \b\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,9})?)?Z?\b                    # times of day
    | \b(?:\d{1,12}(?:\.\d{1,12})?\s?                           # durations
        (?:ms|µs|us|s|secs?|seconds?|m|mins?|minutes?|h|hours?)){1,4}\b
    | \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b
    | \b0x[0-9a-f]{4,16}\b                                      # addresses
    | \breq(?:uest)?[-_][A-Za-z0-9]{8,64}                       # request ids
    | \b1[5-9]\d{8}(?:\d{3}|\.\d{1,9})?\b                       # seconds or milliseconds since 1970
    """,
    re.VERBOSE | re.IGNORECASE,
)

_IDENTITY_NAMES: Final = frozenset(
    {"took", "durationms", "requestid", "callid", "timestamp", "startedat", "pid"}
)

_incomparable = itertools.count()


def args_hash(args: Any) -> str:
    """Return the hash of a call's arguments; unlike any other if they cannot be compared."""
    try:
        text = json.dumps(_as_javascript(args), ensure_ascii=False, separators=(",", ":"))
    except (RecursionError, TypeError, ValueError):
        return f"incomparable-{next(_incomparable)}"
    if len(text) > _HASHED_CHARS:
        rest = text[_HASHED_CHARS:].encode("utf-8", "surrogatepass")
        text = text[:_HASHED_CHARS] + hashlib.blake2b(rest).hexdigest()
    total = 0
    for unit in memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H"):
        total = (total * 31 + unit) & 0xFFFFFFFF
    return _base36(total - (1 << 32) if total >> 31 else total)


def is_low_cardinality(tool_name: str, args: Any) -> bool:
    """True for edits that name the files but not the change, so that different ones look alike."""
    if tool_name not in _VAGUE_TOOLS or not isinstance(args, dict) or set(args) != {"changes"}:
        return False
    changes = args["changes"]
    return isinstance(changes, list) and bool(changes) and all(map(_is_bare_change, changes))


def result_digest(result: Any, call_id: str = "") -> bytes:
    """Return what identifies a result, whenever and however fast it came."""
    result = _without_identity(result, call_id)
    if not isinstance(result, str):
        try:
            result = json.dumps(result, sort_keys=True, default=str)
        except (RecursionError, TypeError, ValueError):
            result = type(result).__name__
    if len(result) <= _MAX_NORMALISED_CHARS:
        result = _NOISE.sub("~", result)
    return hashlib.blake2b(result.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _without_identity(value: Any, call_id: str) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_identity(item, call_id)
            for key, item in value.items()
            if not _is_identity(key, item)
        }
    if isinstance(value, list):
        return [_without_identity(item, call_id) for item in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.dumps(_without_identity(json.loads(value), call_id))
        except ValueError:
            return value
    return "~" if isinstance(value, str) and call_id and value == call_id else value


def _is_identity(key: Any, value: Any) -> bool:
    if isinstance(value, (dict, list)) or not isinstance(key, str):
        return False
    name = key.lower().replace("_", "").replace("-", "")
    is_harness_id = isinstance(value, str) and value.startswith(("item_", "call_", "msg_"))
    return name in _IDENTITY_NAMES or (name == "id" and is_harness_id)


def _is_bare_change(change: Any) -> bool:
    return (
        isinstance(change, dict)
        and set(change) == {"kind", "path"}
        and isinstance(change["kind"], str)
        and change["kind"] in _CHANGE_KINDS
        and isinstance(change["path"], str)
    )


def _as_javascript(value: Any) -> Any:
    """Sort keys and turn numbers into what ``JSON.stringify`` makes of them."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: str(key).encode("utf-16-be", "surrogatepass"))
        return {str(key): _as_javascript(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_as_javascript(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < _LARGEST_PLAIN_FLOAT else value
    return value


def _base36(number: int) -> str:
    digits, rest = "", abs(number)
    while rest:
        rest, digit = divmod(rest, 36)
        digits = _DIGITS[digit] + digits
    return ("-" if number < 0 else "") + (digits or "0")


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


class PlainDetector:
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
        call.result = result_digest(result, call_id)
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
    reason = f"{call.pattern[0]} was called {count} times with the same arguments and no new result"
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
    reason = f"{often[0]} and {rarer[0]} alternated for {count} calls without a new result"
    return _verdict(count, warn, block, reason)


def _judge_cycles(calls: Sequence[_Call], profile: LoopProfile) -> LoopVerdict:
    patience = 2 if any(call.is_vague for call in calls) else 1
    found = _OK
    for period in range(3, profile.longest_cycle + 1):
        length = _cycle_length(calls, period)
        warn = period * profile.cycle_warn_rounds * patience
        block = min(period * profile.cycle_block_rounds * patience, profile.window)
        tools = ", ".join(call.pattern[0] for call in calls[-period:])
        reason = f"{tools} repeated for {length} calls without a new result"
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
