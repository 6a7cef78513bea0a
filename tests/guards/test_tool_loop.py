"""The reference's numbers hold, loops trip and honest work does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from guards_doubles import HandClock
from plain_tool_loop import args_hash

from agent_swarm_worker.contract import Helper, ToolEnd, ToolStart
from agent_swarm_worker.guards.calls import MAX_KEPT_BYTES, is_low_cardinality, result_digest
from agent_swarm_worker.guards.tool_loop import (
    MAX_HELPERS,
    LoopProfile,
    ToolLoopDetector,
    ToolLoopGuard,
)
from agent_swarm_worker.logs import Log

CORPUS = Path(__file__).parent / "corpus"
EDIT = ("Edit", {"changes": [{"path": "src/be/db.ts", "kind": "update"}]})
A, B, C = (("Bash", {"command": name}) for name in "abc")
MARKS = {"ok": ".", "warn": "w", "block": "B"}


def trace(calls: list[tuple[str, Any]], detector: ToolLoopDetector | None = None) -> str:
    detector = detector or ToolLoopDetector(HandClock())
    return "".join(MARKS[detector.started(*call).level] for call in calls)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"command": "ls"}, "1a9wlk"),
        ({"file_path": "/a", "limit": 10}, "4h7g14"),
        ({"b": 1, "a": {"d": [3, {"z": 1, "y": None}], "c": "é😀"}}, "lbpjed"),
        (EDIT[1], "-mgh20p"),
        ({}, "31e"),
        ({"f": 1.5, "t": True}, "dffrx6"),
    ],
)
def test_reference_hashes(args: Any, expected: str) -> None:
    assert args_hash(args) == expected


def test_numbers_hash_as_javascript_prints_them() -> None:
    assert args_hash({"n": 1.0}) == args_hash({"n": 1})
    assert args_hash({"n": -0.0}) == args_hash({"n": 0})
    assert args_hash({"n": float("nan")}) == args_hash({"n": None})


def test_long_arguments_hash_by_all_of_them() -> None:
    assert args_hash("x" * 300_000 + "a") == args_hash("x" * 300_000 + "a")
    assert args_hash("x" * 300_000 + "a") != args_hash("x" * 300_000 + "b")


def test_arguments_that_cannot_be_compared_are_unlike_any_other() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert args_hash(circle) != args_hash(circle)
    assert trace([("Tool", circle)] * 30) == "." * 30


def test_low_cardinality() -> None:
    assert is_low_cardinality(*EDIT)
    for tool, args in (
        ("Bash", EDIT[1]),
        ("Edit", {"changes": []}),
        ("Edit", {"changes": [{"path": "a"}]}),
        ("Edit", {"changes": [{"path": "a", "kind": ["update"]}]}),
        ("Edit", {"changes": [{"path": "a", "kind": "rename"}]}),
        ("Edit", {"changes": [{"path": "a", "kind": "update", "diff": "+"}]}),
        ("Edit", {"changes": [{"path": "a", "kind": "update"}], "more": 1}),
        ("Edit", None),
    ):
        assert not is_low_cardinality(tool, args)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([A] * 16, ".......wwwwwwwBB"),
        ([EDIT, B] * 14, "...........wwwwwwwwwwwwBBBBB"),
        ([EDIT] * 26, ".......wwwwwwwwwwwwwwwwBBB"),
        ([A, B] * 7, ".......wwwwBBB"),
        # Different from the reference, where these were .......wwwwBwww and never a block.
        ([B] + [A] * 14, "........wwwwwww"),
        ([A, B, C] * 5, "........wwwBBBB"),
    ],
)
def test_traces(calls: list[tuple[str, Any]], expected: str) -> None:
    assert trace(calls) == expected


def read_corpus(name: str) -> list[Any]:
    lines = (CORPUS / f"{name}.jsonl").read_text().splitlines()
    cases = [json.loads(line) for line in lines]
    return [pytest.param(case, id=case["name"]) for case in cases]


def fill(value: Any, number: int) -> Any:
    if isinstance(value, str):
        return value.replace("{n}", str(number)).replace("{n:02}", f"{number:02}")
    if isinstance(value, dict):
        return {key: fill(item, number) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, number) for item in value]
    return value


def replay(case: dict[str, Any]) -> list[str]:
    clock = HandClock()
    detector = ToolLoopDetector(clock)
    levels = []
    for number in range(1, case["rounds"] + 1):
        for position, call in enumerate(case["calls"]):
            clock.seconds += call.get("gap_s", case["gap_s"])
            call_id = f"{number}-{position}"
            levels.append(detector.started(call["tool"], fill(call["args"], number), call_id).level)
            if "result" in call:
                detector.ended(call_id, fill(call["result"], number))
    return levels


@pytest.mark.parametrize("case", read_corpus("loops"))
def test_loops_trip(case: dict[str, Any]) -> None:
    levels = replay(case)
    assert levels.index("block") + 1 == case["block_at"]
    assert "warn" in levels[: case["block_at"]]


@pytest.mark.parametrize("case", read_corpus("honest"))
def test_honest_work_does_not(case: dict[str, Any]) -> None:
    assert set(replay(case)) == {"ok"}


def test_a_call_announced_twice_counts_once() -> None:
    detector = ToolLoopDetector(HandClock())
    for number in range(14):
        for _ in range(2):
            assert detector.started(*A, f"id-{number}").level != "block"
    assert detector.started(*A, "id-15").level == "block"


def test_a_harness_that_reuses_ids_is_watched_all_the_same() -> None:
    detector = ToolLoopDetector(HandClock())
    levels = []
    for _ in range(15):
        levels.append(detector.started(*A, "call_0").level)
        detector.ended("call_0", "same")
    assert levels[-1] == "block"


def test_results_of_parallel_calls_find_their_call() -> None:
    detector = ToolLoopDetector(HandClock())
    for number in range(30):
        verdicts = [detector.started(*A, f"a{number}"), detector.started(*B, f"b{number}")]
        detector.ended(f"b{number}", f"page {number}")
        detector.ended(f"a{number}", {"page": number})
        detector.ended("unknown", "x")
        assert {verdict.level for verdict in verdicts} == {"ok"}


def test_a_long_enough_wait_is_no_repeat() -> None:
    for gap_s, expected in ((14.9, "block"), (15.0, "ok")):
        clock = HandClock()
        detector = ToolLoopDetector(clock)
        for _ in range(15):
            clock.seconds += gap_s
            verdict = detector.started(*A)
        assert verdict.level == expected


def test_reasons_name_the_tools_and_the_count() -> None:
    detector = ToolLoopDetector(HandClock())
    verdicts = [detector.started(*A) for _ in range(15)]
    assert "Bash" in verdicts[-1].reason
    assert "15 times" in verdicts[-1].reason
    assert verdicts[0].reason == ""


def test_memory_is_bounded() -> None:
    detector = ToolLoopDetector(HandClock())
    for number in range(1000):
        detector.started("Read", {"file": number}, str(number))
    assert len(detector._window) <= LoopProfile().window + 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("failed in 0.12s", "failed in 10.4s"),
        ("took 3m12s at 10:04:07", "took 59s at 23:59:59"),
        ("2026-11-20T10:00:00Z error", "2026-11-21 10:00:01.123Z error"),
        ("request req_0123456789 failed", "request req_abcdefghij failed"),
        ("at 0x7f12ab34", "at 0x7fffffff"),
        (
            {"id": "0f8fad5b-d9cb-469f-a165-70867728950e"},
            {"id": "7c9e6679-7425-40de-944b-e07fc1f90ae7"},
        ),
        ({"id": "item_7", "exit_code": 1}, {"id": "item_12", "exit_code": 1}),
        ({"durationMs": 12, "ok": False}, {"durationMs": 4711, "ok": False}),
        ({"meta": {"tool_call_id": "a", "ts": 1.5}}, {"meta": {"tool_call_id": "b", "ts": 2.5}}),
        (
            {"processId": "411", "wall_time_seconds": 0.2},
            {"processId": None, "wall_time_seconds": 9},
        ),
        ('{"requestId": "x1", "error": "no"}', '{"requestId": "y22", "error": "no"}'),
        (
            [{"type": "text", "text": '{\n  "took_ms": 5,\n  "found": 0\n}'}],
            [{"type": "text", "text": '{\n  "took_ms": 66,\n  "found": 0\n}'}],
        ),
        ({"created_at": "Mon, 1 Jan", "id": "msg_1"}, {"created_at": "Tue, 2 Jan", "id": "msg_2"}),
    ],
)
def test_noise_in_results_is_no_news(one: Any, other: Any) -> None:
    assert result_digest(one) == result_digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("2 failed", "1 failed"), ("page 1", "page 2"), ([1], [2]), (None, "x"), ("45%", "46%")),
        ({"id": "ticket-1"}, {"id": "ticket-2"}),
        ({"id": 1}, {"id": 2}),
        ({"task_id": "a"}, {"task_id": "b"}),
        ({"times": 1}, {"times": 2}),
        ({"time": {"zone": "UTC"}}, {"time": {"zone": "CET"}}),
    ],
)
def test_other_numbers_are_news(one: Any, other: Any) -> None:
    assert result_digest(one) != result_digest(other)


@pytest.mark.parametrize("call_id", ["3", "item_3", "0123456789"])
def test_the_id_of_the_call_is_no_news(call_id: str) -> None:
    detector = ToolLoopDetector(HandClock())
    levels = []
    for number in range(15):
        own_id = f"{call_id}{number}"
        levels.append(detector.started(*A, own_id).level)
        detector.ended(own_id, {"of": own_id, "output": "no such file"})
    assert levels[-1] == "block"


def test_arguments_that_name_the_call_do_not_make_it_another() -> None:
    calls = [("find", {"q": "x", "toolCallId": f"c{n}", "_meta": {"n": n}}) for n in range(15)]
    assert trace(calls)[-1] == "B"
    assert "B" not in trace([("find", {"q": "x", "ticket_id": f"c{n}"}) for n in range(15)])


@pytest.mark.parametrize("output", ["no such file", "no such file " * 20_000, "x" * 300_000])
def test_an_item_of_codex_that_fails_again_and_again_is_a_loop(output: str) -> None:
    """Each item has its own id and duration; the longest outputs are not kept but digested."""
    detector = ToolLoopDetector(HandClock())
    levels = []
    for number in range(20):
        item = {
            "id": f"item_{number}",
            "type": "command_execution",
            "command": "cat x",
            "aggregated_output": output,
            "exit_code": 1,
            "durationMs": 12 + number,
            "status": "failed",
        }
        levels.append(detector.started("bash", {"command": "cat x"}, item["id"]).level)
        detector.ended(item["id"], item)
    assert levels.index("block") == 14


def test_results_of_helpers_that_are_forgotten_take_no_room() -> None:
    guard = ToolLoopGuard(lambda _: None, clock=HandClock(), log=Log())
    for number in range(3 * MAX_HELPERS):
        helper = Helper(f"h{number}")
        guard.on_event(ToolStart("c", "Read", {"file": 1}, helper))
        guard.on_event(ToolEnd("c", "Read", "x" * 100_000, helper=helper))
    assert len(guard._helpers) == MAX_HELPERS
    for helper_id in list(guard._helpers):
        guard._helpers.pop(helper_id).release()
    assert guard._budget.left_bytes == MAX_KEPT_BYTES
