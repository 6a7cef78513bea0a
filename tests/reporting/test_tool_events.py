from __future__ import annotations

from typing import Any

import orjson
import pytest

from agent_swarm_worker.contract import CostData, Helper, PermissionDecided, ToolEnd, ToolStart
from agent_swarm_worker.reporting.tool_events import MAX_BATCH, MAX_OPEN_CALLS, ToolEvents

SERVER_NAMES = {
    *("tool.start", "tool.end", "skill.invoke", "skill.complete", "session.start", "session.end"),
    *("session.resume", "session.cost", "api.request", "api.error", "task.poll", "task.assign"),
}


@pytest.fixture
def batches():
    return []


@pytest.fixture
def events(batches, clock, redactor):
    return make(batches, clock, redactor)


def make(batches, clock, redactor, **changes):
    values = {"agent_id": "agent-1", "task_id": "task-1", "session_uuid": "run-1"} | changes

    def send(batch):
        batches.append([orjson.loads(event) for event in batch])

    return ToolEvents(send=send, clock=clock, scrub=redactor.text, **values)


def only(batches):
    [[event]] = batches
    return event


@pytest.mark.parametrize(
    ("tool", "args", "action", "key"),
    [
        ("Read", {"file_path": "/a"}, "read", {"filePath": "/a"}),
        ("Edit", {"file_path": "/a"}, "edit", {"filePath": "/a"}),
        ("Write", {"file_path": "/a"}, "write", {"filePath": "/a"}),
        ("Edit", {"changes": [{"path": "a"}, {"path": "b"}]}, "edit", {"filePath": "a, b"}),
        ("Bash", {"description": "d", "command": "c"}, "shell", {"description": "d"}),
        ("Agent", {"description": "d"}, "subagent", {"description": "d"}),
        ("Grep", {"pattern": "p"}, "search", {"pattern": "p"}),
        ("Glob", {"pattern": "p"}, "find-files", {"pattern": "p"}),
        ("read", {"file_path": "/a"}, "read", {"filePath": "/a"}),
        ("read", {"path": "/a"}, "read", {"filePath": "/a"}),
        ("Bash", {"command": "secret"}, "shell", {}),
        ("WebFetch", {"url": "u"}, "fetch", {"url": "u"}),
        ("WebSearch", {"query": "q"}, "web-search", {"query": "q"}),
        ("TodoWrite", {"todos": []}, "plan", {}),
        ("mcp__linear__create_issue", {"title": "x"}, "mcp", {}),
        ("x", {"server": "linear", "tool": "create_issue"}, "mcp", {}),
        ("Bash", {"command": "ls", "server": "s", "tool": "t"}, "shell", {}),
        ("Frobnicate", {"path": "/a"}, "other", {}),
        ("run_it", {"command": "ls"}, "shell", {}),
        ("Read", None, "read", {}),
        ("Read", {"file_path": 5}, "read", {}),
    ],
)
def test_a_call_carries_its_action_and_its_subject(
    batches, clock, redactor, tool, args, action, key
):
    events = make(batches, clock, redactor, tools={"run_it": "shell"})
    events.tool_started(ToolStart("c1", tool, args))
    events.tool_ended(ToolEnd("c1", tool, "done"))
    events.flush()
    stamp = {"clientTimestamp": "2026-11-20T12:00:00.000Z"}
    [[start, end]] = batches
    assert start == {
        "category": "tool",
        "event": "tool.start",
        "source": "worker",
        "agentId": "agent-1",
        "taskId": "task-1",
        "sessionId": "run-1",
        "data": {"toolName": tool, "toolCallId": "c1", "action": action} | stamp | key,
    }
    assert end["data"]["action"] == action


def test_a_skill_is_told_twice(events, batches):
    events.tool_started(ToolStart("c1", "Skill", {"skill": "review-pr"}))
    events.flush()
    start, invoke = batches[0]
    assert start["data"]["skillName"] == "review-pr"
    assert (invoke["category"], invoke["event"]) == ("skill", "skill.invoke")
    assert invoke["data"]["skillName"] == "review-pr"


def test_an_end_says_how_long_it_took_and_whether_it_failed(events, batches, clock):
    events.tool_started(ToolStart("c1", "Bash", {}))
    clock.skip(1.5)
    events.tool_ended(ToolEnd("c1", "Bash", "a very long answer", is_error=True))
    events.tool_ended(ToolEnd("unknown", "Bash", ""))
    events.flush()
    _, end, unknown = batches[0]
    assert (end["event"], end["status"], end["durationMs"]) == ("tool.end", "error", 1500)
    assert "a very long answer" not in str(end)
    assert unknown["status"] == "ok"
    assert "durationMs" not in unknown


def test_the_session_events(events, batches):
    events.session_started("native-1")
    cost = CostData(total_cost_usd=0.25, input_tokens=10, output_tokens=None, model="opus")
    events.session_ended(is_error=False, duration_ms=1234.4, cost=cost)
    events.flush()
    start, end = batches[0]
    assert (start["event"], start["sessionId"]) == ("session.start", "native-1")
    assert (end["event"], end["sessionId"], end["status"]) == ("session.end", "run-1", "ok")
    assert end["durationMs"] == 1234
    assert start["data"] == {"clientTimestamp": "2026-11-20T12:00:00.000Z"}
    spent = {"model": "opus", "totalCostUsd": 0.25, "inputTokens": 10}
    assert end["data"] == spent | start["data"]


def test_a_trigger_without_a_task_leaves_the_task_out(batches, clock, redactor):
    events = make(batches, clock, redactor, task_id=None)
    events.session_started("native-1")
    events.flush()
    assert "taskId" not in only(batches)


def test_every_name_is_one_the_server_knows(events, batches):
    events.session_started("n")
    events.tool_started(ToolStart("c", "Skill", {"skill": "s"}))
    events.tool_ended(ToolEnd("c", "Skill", ""))
    events.session_ended(is_error=True, duration_ms=1, cost=None)
    events.flush()
    assert {event["event"] for event in batches[0]} < SERVER_NAMES


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), -5])
def test_an_impossible_number_costs_the_field_not_the_batch(events, batches, duration):
    events.session_ended(is_error=False, duration_ms=duration, cost=None)
    events.flush()
    assert "durationMs" not in only(batches)


def test_no_batch_is_larger_than_the_server_takes(events, batches):
    for number in range(2 * MAX_BATCH + 3):
        events.tool_started(ToolStart(f"c{number}", "Read", {}))
    events.flush()
    assert [len(batch) for batch in batches] == [MAX_BATCH, MAX_BATCH, 3]
    assert [event["data"]["toolCallId"] for batch in batches for event in batch] == [
        f"c{number}" for number in range(2 * MAX_BATCH + 3)
    ]


def test_texts_are_scrubbed_bounded_and_on_one_line(events, batches, redactor):
    path = f"/x\x00\n/{redactor.SECRET}/" + "y" * 10**6
    events.tool_started(ToolStart("c" * 9999, "Read", {"file_path": path}))
    events.tool_started(ToolStart("c2", "Odd\n" * 9999, {}))
    events.flush()
    data = [event["data"] for event in batches[0]]
    assert data[0]["filePath"].startswith("/x /[REDACTED]/yyy")
    for value in [value for values in data for value in values.values()]:
        assert len(value) <= 500
        assert "\n" not in value


@pytest.mark.long
def test_a_queue_that_takes_nothing_does_not_fill_the_memory(clock, redactor):
    taken = []
    broken = True

    def send(batch):
        if broken:
            raise OSError("disk full")
        assert len(batch) <= MAX_BATCH
        taken.extend(map(orjson.loads, batch))

    events = ToolEvents(
        send=send,
        agent_id="a",
        task_id=None,
        session_uuid="s",
        clock=clock,
        scrub=redactor.text,
    )
    failures = 0
    for number in range(5000):
        try:
            events.tool_started(ToolStart(f"c{number}", "Read", {}))
        except OSError:
            failures += 1
    assert failures
    broken = False
    events.flush()
    assert len(taken) == 2 * MAX_BATCH
    assert taken[-1]["data"]["toolCallId"] == "c4999"


def test_calls_that_never_end_are_forgotten(events, batches):
    for number in range(MAX_OPEN_CALLS + 1):
        events.tool_started(ToolStart(f"c{number}", "Read", {}))
    events.tool_ended(ToolEnd("c0", "Read", ""))
    events.tool_ended(ToolEnd("c1", "Read", ""))
    events.flush()
    forgotten, remembered = batches[-1][-2:]
    assert "durationMs" not in forgotten
    assert "durationMs" in remembered


def test_both_ends_of_a_call_name_its_helper(events, batches):
    helper = Helper("toolu_1", "review the tests")
    events.tool_started(ToolStart("c1", "Read", {"file_path": "/a"}, helper))
    events.tool_ended(ToolEnd("c1", "Read", "text", helper=helper))
    events.tool_started(ToolStart("c2", "Read", {"file_path": "/a"}))
    events.flush()
    [[start, end, other]] = batches
    for event in (start, end):
        assert event["data"]["helperId"] == "toolu_1"
        assert event["data"]["helperName"] == "review the tests"
    assert not {"helperId", "helperName"} & set(other["data"])


@pytest.mark.parametrize(("is_error", "status"), [(True, "skipped"), (False, "ok")])
def test_a_denied_call_is_skipped_unless_it_ran(
    events: ToolEvents, batches: list[Any], is_error: bool, status: str
) -> None:
    events.decided(PermissionDecided("c", "Bash", False, "no"))
    events.tool_ended(ToolEnd("c", "Bash", "", is_error=is_error))
    events.flush()
    event = only(batches)
    assert (event["status"], event["data"]["permission"]) == (status, "denied")
