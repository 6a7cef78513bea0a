from __future__ import annotations

import io
import json

import anyio
import pytest

from agent_swarm_worker import logs
from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    CostData,
    Error,
    Helper,
    Message,
    Plan,
    PlanStep,
    Progress,
    RawLog,
    RawStderr,
    Reasoning,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.logs import Log
from agent_swarm_worker.reporting.console import MAX_LINE_CHARS, Console, describe_record


def assistant(*blocks):
    return {"type": "assistant", "message": {"content": list(blocks)}}


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ('{"type":"stdout","content":"a line"}', "a line"),
        ('{"type":"stderr","content":"a warning"}', "a warning"),
        ('{"type":"stdout","content":""}', ""),
        ('{"type":"turn.started","n":1}', '[turn.started] {"type":"turn.started","n":1}'),
        ('{"type":["odd"]}', """[['odd']] {"type":["odd"]}"""),
        ("{}", "[event] {}"),
        ("plain \x1b[31mtext", "plain text"),
        ("[1, 2]", "[1, 2]"),
        ("", ""),
    ],
)
def test_a_record_becomes_a_line(record, line):
    assert describe_record(record) == line


@pytest.mark.parametrize(
    "value", [{"type": "system", "subtype": "init"}, assistant({"type": "text", "text": "hello"})]
)
def test_a_record_is_shown_alike_whatever_harness_wrote_it(value):
    """What a harness means by its records is for its translator to say, in events."""
    record = json.dumps(value)
    assert describe_record(record) == f"[{value['type']}] {record}"


def test_a_long_record_is_shortened():
    line = describe_record(json.dumps({"type": "x" * 300, "deep": "y" * 10_000}))
    assert len(line) == MAX_LINE_CHARS


def test_a_huge_record_is_not_parsed():
    line = describe_record('{"type":"' + "x" * 1_000_000)
    assert line.startswith("[1,000,009 characters]")
    assert len(line) < 200


@pytest.fixture
def written():
    stream = io.StringIO()
    logs.configure(human=False, stream=stream)
    return stream


def texts(stream):
    logs.flush()
    return [json.loads(line)["text"] for line in stream.getvalue().splitlines()]


def record(text):
    return RawLog(json.dumps(assistant({"type": "text", "text": text})))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Message("assistant", "Hello\nworld"), "Hello world"),
        (ToolStart("c1", "mcp__a__b", {"x": 1, "y": "z" * 99}), "▸ a:b(x=1, y=" + "z" * 49 + "…)"),
        (ToolStart("c1", "Bash", {"command": "ls -la", "description": "look"}), "▸ Bash: ls -la"),
        (ToolStart("c1", "run_it", {"command": "ls"}), "▸ run_it: ls"),
        (ToolStart("c1", "shell", None), "▸ shell()"),
        (Reasoning("Let me\nthink"), "… Let me think"),
        (
            Plan((PlanStep("look", "completed"), PlanStep("leap", "in_progress"))),
            "plan: 1 of 2 done, now: leap",
        ),
        (ToolStart("c1", "shell", None, Helper("t1", "look")), "🤖 look: ▸ shell()"),
        (ToolEnd("c1", "Bash", "ok"), "◂ ok"),
        (ToolEnd("c1", "Bash", [{"type": "text", "text": "no"}], is_error=True), "✗ no"),
        (ToolEnd("c1", "Bash", {"exit": 0}), '◂ {"exit":0}'),
        (SessionInit("s", model="opus"), "session starts: model opus"),
        (Error("bad"), "✗ bad"),
        (Progress("Compacting"), "Compacting"),
        (Compaction(120_000), "context compacted (auto), from 120,000 tokens"),
        (Result(None, "done"), "✓ success: done"),
        (
            Result(CostData(total_cost_usd=0.5, num_turns=3, duration_ms=1234), is_error=True),
            "✗ failure, 3 turns, 1.2 s, $0.5000",
        ),
    ],
)
async def test_an_event_becomes_a_line_and_its_record_none(written, event, line):
    console = Console(Log(), {"run_it": "shell"})
    console.on_event(RawLog('{"type":"whatever.the.harness.calls.it"}'))
    console.on_event(event)
    await anyio.lowlevel.checkpoint()
    assert texts(written) == [line]


@pytest.mark.anyio
async def test_a_record_without_an_event_becomes_a_line_in_its_place(written):
    console = Console(Log())
    thinking = RawLog(json.dumps(assistant({"type": "thinking", "thinking": "hm"})))
    for event in (record("a"), Message("assistant", "a"), thinking, ContextUsage(1)):
        console.on_event(event)
    for event in (
        record("b"),
        Message("assistant", "b"),
        RawLog('{"type":"stdout","content":"c"}'),
    ):
        console.on_event(event)
    await anyio.lowlevel.checkpoint()
    console.on_event(RawStderr("warning: x\n"))
    await anyio.lowlevel.checkpoint()
    assert texts(written) == ["a", f"[assistant] {thinking.content}", "b", "c", "warning: x"]


@pytest.mark.anyio
async def test_nothing_is_prepared_for_a_log_that_hides_it():
    stream = io.StringIO()
    logs.configure(human=False, stream=stream, level="warning")

    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError(name)

    console = Console(Log())
    console.on_event(ToolEnd("c1", "Bash", Untouchable()))
    console.on_event(RawLog("{}"))
    await anyio.lowlevel.checkpoint()
    assert stream.getvalue() == ""
