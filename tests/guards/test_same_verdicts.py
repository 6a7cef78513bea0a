"""The detector that counts says what the plain one says, and keys and results compare the same."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import plain_tool_loop as plain
import pytest
from guards_doubles import HandClock
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent_swarm_worker.guards import calls
from agent_swarm_worker.guards.calls import CallResult, ResultBudget, args_key, result_digest
from agent_swarm_worker.guards.tool_loop import DEFAULT, LoopProfile, ToolLoopDetector

Step = tuple[Any, ...]
"""("call", tool, args, id) | ("end", id, result) | ("wait", seconds)"""

EDIT = {"changes": [{"path": "a.py", "kind": "update"}]}
CALLS: list[tuple[str, Any]] = [
    *(("Bash", {"command": name}) for name in "abcdef"),
    ("Read", {"file_path": "/a", "limit": 1}),
    ("Read", {"file_path": "/a", "limit": 1.0}),
    ("Edit", EDIT),
    ("Write", {"changes": [{"path": "b.py", "kind": "add"}, {"path": "c", "kind": "delete"}]}),
    ("Edit", {"changes": [{"path": "a.py", "kind": "update", "diff": "+"}]}),
    ("Tool", object()),  # cannot be compared
    ("Tool", {1: "x"}),
    ("Tool", {"1": "x"}),
    ("Grep", None),
    ("Grep", {"pattern": "x" * 300}),
    ("Grep", {"pattern": "x" * 300 + "y"}),
]
RESULTS: list[Any] = [
    "same",
    "2 failed in 0.12s",
    "2 failed in 10.4s",
    "1 failed in 0.12s",
    {"page": 1, "took": "3 ms"},
    {"took": "9 ms", "page": 1},
    ["page", 2],
    {"type": "command", "id": "item_1", "pid": 7, "duration_ms": 12, "output": "no such file"},
    {"type": "command", "id": "item_2", "pid": 8, "duration_ms": 9, "output": "no such file"},
    [{"type": "text", "text": '{"requestId": "a1", "startedAt": 5.0, "found": 1}'}],
    [{"type": "text", "text": '{"requestId": "b2", "startedAt": 6.5, "found": 1}'}],
    '{"callId": "x", "found": 1}',
    '{"callId": "y", "found": 1}',
    {"id": "ticket-1"},
    {"id": "ticket-2"},
    None,
    object(),
    *(f"{'line one, 2' * 150} at {end}" for end in ("10:00:01", "10:00:02", "end")),
    [{"type": "text", "text": f"{'word ' * 300}{end}"} for end in "ab"],
]
LONG_RESULTS: list[Any] = [
    "line one\n" * 3000 + "at 10:00:01",
    "line one\n" * 3000 + "at 10:00:02",
    "line one\n" * 3000 + "at end",
    [{"type": "text", "text": f"{'word ' * 2000}{end}"} for end in "ab"],
    "x" * 400_000 + "took 1s",
    "x" * 400_000 + "took 2s",
    list(range(50_000)),
    list(range(50_001)),
]


def both(steps: Sequence[Step], profile: LoopProfile = DEFAULT) -> Sequence[str]:
    """Run a trace through both detectors; return the levels, which must be the same."""
    clock = HandClock()
    fast, slow = ToolLoopDetector(clock, profile), plain.PlainDetector(clock, profile)
    levels = []
    for number, (kind, *rest) in enumerate(steps):
        if kind == "wait":
            clock.seconds += rest[0]
        elif kind == "end":
            fast.ended(*rest)
            slow.ended(*rest)
        else:
            verdict = fast.started(*rest)
            assert verdict == slow.started(*rest), (number, steps[: number + 1])
            levels.append(verdict.level)
    return levels


def some_trace(rng: random.Random) -> list[Step]:
    """Rounds of a few calls, with interruptions, results, waits and repeated announcements."""
    calls = rng.sample(CALLS, rng.choice((1, 2, 2, 3, 3, 4, 5, 6, 8)))
    results = rng.sample(RESULTS, rng.choice((1, 2, 3)))
    noise, answered, waits, again, shuffled = (rng.choice((0, 0, 0.03, 0.3, 1)) for _ in range(5))
    steps: list[Step] = []
    number = 0
    for _ in range(rng.choice((10, 20, 40))):
        for call in calls if rng.random() >= shuffled else rng.choices(calls, k=len(calls)):
            number += 1
            call_id = rng.choice((f"id-{number}", f"id-{number}", "", f"id-{number % 3}"))
            tool, args = rng.choice(CALLS) if rng.random() < noise / 3 else call
            steps += [("call", tool, args, call_id)] * (1 + (rng.random() < again))
            if rng.random() < answered:
                fresh = f"news {rng.randrange(10_000)}"
                result = fresh if rng.random() < noise / 10 else rng.choice(results)
                steps.append(("end", rng.choice((call_id, f"id-{number - 1}")), result))
            if rng.random() < waits / 5:
                steps.append(("wait", rng.choice((1.0, 7.5, 14.999, 15.0, 60.0))))
    return steps


SMALL = LoopProfile(
    window=9,
    min_calls=2,
    repeat_warn=2,
    repeat_block=4,
    repeat_block_vague=6,
    pingpong_warn=3,
    pingpong_warn_vague=5,
    pingpong_block=5,
    pingpong_block_vague=14,
    longest_cycle=4,
    cycle_warn_rounds=1,
    cycle_block_rounds=2,
    spaced_s=7.5,
)


@pytest.mark.parametrize("profile", [DEFAULT, SMALL], ids=["default", "small"])
@pytest.mark.parametrize("seed", range(20))
def test_rounds_of_calls(seed: int, profile: LoopProfile) -> None:
    rng = random.Random(seed)
    for _ in range(5):
        both(some_trace(rng), profile)


def test_the_rounds_of_calls_bring_out_every_verdict() -> None:
    levels = {
        level for seed in range(10) for level in both(some_trace(random.Random(f"levels {seed}")))
    }
    assert levels == {"ok", "warn", "block"}


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("call"),
                st.sampled_from(["Bash", "Edit"]),
                st.sampled_from([1, 2, 3, EDIT]),
                st.sampled_from(["", "a", "b", "c"]),
            ),
            st.tuples(
                st.just("end"),
                st.sampled_from(["", "a", "b", "z"]),
                st.sampled_from(["old", "new", "took 1s", "took 2s"]),
            ),
            st.tuples(st.just("wait"), st.sampled_from([5.0, 7.5, 20.0])),
        ),
        max_size=60,
    )
)
def test_any_trace(steps: list[Step]) -> None:
    both(steps, SMALL)
    both(steps)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: f"page {n}",
        lambda n: f"took {n}s, 3 failed",
        lambda n: "x" * 5000 + f" {n // 5}",
        lambda n: {"rows": list(range(500)), "n": n % 2},
    ],
)
def test_polls_with_results(make: Callable[[int], Any]) -> None:
    steps: list[Step] = []
    for number in range(60):
        steps += [
            ("call", "Bash", {"command": "poll"}, str(number)),
            ("end", str(number), make(number)),
        ]
    both(steps)


def test_what_is_kept_of_results_is_bounded_and_given_back() -> None:
    detector = ToolLoopDetector(HandClock())
    budget = detector._window._budget
    for number in range(300):
        # Every second call is like an earlier one, with a result that was there or was not.
        detector.started("Read", {"file": number - number % 2 * 7}, str(number))
        detector.ended(str(number), f"{number % 3}" * 70_000)
        assert 0 <= budget.left_bytes <= calls.MAX_KEPT_BYTES
    for number in range(41):
        detector.started("Read", {"other": number}, f"other {number}")
    assert budget.left_bytes == calls.MAX_KEPT_BYTES


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([10**16, 10**20, 10**22, -(10**25)])
    | st.sampled_from([1.0, -0.0, 0.5, -1.0, 1e16, 1e20, 1e21, 1e22, 1e-7, 1.5e300, -2.0e17])
    | st.sampled_from(["", "1.0,", "-0]", '"', '\\"', "\\", '1.0"', "é", "\ud800", "\x00", "\x01"])
    | st.floats(allow_nan=True),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.sampled_from(["a", "b", '"', "1.0,", "1"]) | st.just(1), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(JSON, JSON)
@example({"a": 1.0, "b": '"'}, {"a": 1, "b": '"'})
@example({"a": [1.0], "b": "\\"}, {"b": "\\", "a": [1]})
@example([-0.0], [0])
@example(1.0, 1)
@example(1e20, 10**20)
@example(1e22, 10**22)
@example(10**20, 10**20 + 1)
@example("1.0", "1")
@example(["1.0,"], ["1,"])
def test_keys_are_equal_for_equal_arguments(one: Any, other: Any) -> None:
    assert (args_key(one) == args_key(other)) == (text_of(one) == text_of(other))
    assert args_key(one) == args_key(one)


def text_of(args: Any) -> str:
    return json.dumps(plain._as_javascript(args), ensure_ascii=False)


NOISY_PIECES = [
    *("2026-11-20", "T", "10:04:07", ".123", "Z", "1700000000", "1700000000000", ".5", "1", "12"),
    *("123", "12345678", "0x7f12ab34", "0x", "deadbeef", "0f8fad5b-d9cb-469f-a165-70867728950e"),
    *("req_", "request-", "req", "abcdefgh", "R", "A", "ms", "s", "m", "\u017f", "\xb5", "\u03bcs"),
    *("minutes", "hour", "\u0663", "é", "_", "-", ":", ".", ",", "/", '"', "(", "=", "x"),
    *(" ", "  ", "\n", "\t", "3s", "5 ms", "1h2m", "1.5 secs", "9"),
]
NOISY = st.lists(st.sampled_from(NOISY_PIECES), max_size=14).map("".join)


@given(NOISY)
@example("1700000000.1234567890123")
@example("1s2s3s4s5s6s")
@example("1234567890123s 123456789012s 2026-11-201 12:34:56:78")
def test_the_fast_expression_for_noise_is_the_plain_one(text: str) -> None:
    assert calls._NOISE.sub("~", text) == plain._NOISE.sub("~", text)


@given(NOISY, NOISY, NOISY, st.integers(0, 40))
def test_results_that_are_compared_early_are_those_that_differ(
    start: str, one: str, other: str, repeated: int
) -> None:
    for end in ("", start * 3):
        with small_windows():
            same_as_plain(start * repeated + one + end, start * repeated + other + end)


@contextmanager
def small_windows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "_MIN_WINDOWED_CHARS", 0)
        patch.setattr(calls, "_FIRST_WINDOW_CHARS", 6)
        patch.setattr(calls, "_WINDOW_GROWTH", 2)
        yield


@given(st.sampled_from(RESULTS), st.sampled_from(RESULTS), st.sampled_from([0, 1000, 10**7]))
@settings(max_examples=300)
def test_results_are_the_same_if_their_digests_are(one: Any, other: Any, room: int) -> None:
    same_as_plain(one, other, room)


@pytest.mark.parametrize("room", [0, 10**7])
def test_long_results_are_the_same_if_their_digests_are(room: int) -> None:
    for at, one in enumerate(LONG_RESULTS):
        for other in LONG_RESULTS[: at + 1]:
            same_as_plain(one, other, room)


def same_as_plain(one: Any, other: Any, room: int = 10**7) -> None:
    budget = ResultBudget(room)
    first, second = CallResult(one, budget), CallResult(other, budget)
    is_same = plain.result_digest(one) == plain.result_digest(other)
    assert first.is_same(second) == is_same
    assert second.is_same(first) == is_same
    assert (result_digest(one) == result_digest(other)) == is_same
    first.release()
    second.release()
    assert budget.left_bytes == room
