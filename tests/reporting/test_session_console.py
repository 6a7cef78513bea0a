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
    Message,
    Progress,
    RawLog,
    RawStderr,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.logs import Log
from agent_swarm_worker.reporting.console import MAX_LINE_CHARS, Console, brief


def assistant(*blocks):
    return {"type": "assistant", "message": {"content": list(blocks)}}


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (
            {"type": "system", "subtype": "init", "model": "opus", "tools": ["a", "b"]},
            "session starts: model opus, 2 tools",
        ),
        ({"type": "system", "subtype": "api_retry"}, "[api_retry]"),
        ({"type": "system", "subtype": "hook", "message": "m"}, "[hook] m"),
        (assistant({"type": "text", "text": "Hello\nworld"}), "Hello world"),
        (assistant({"type": "thinking", "thinking": "hm"}), "(thinking) hm"),
        (
            assistant(
                {"type": "text", "text": "Look:"},
                {"type": "tool_use", "name": "mcp__a__b", "input": {"x": 1, "y": "z" * 99}},
            ),
            "Look: · ▸ a:b(x=1, y=" + "z" * 49 + "…)",
        ),
        (
            {"type": "user", "message": {"content": [{"type": "tool_result", "content": "ok"}]}},
            "◂ ok",
        ),
        (
            {
                "type": "user",
                "message": {
                    "content": [
                        {
                            "type": "tool_result",
                            "is_error": True,
                            "content": [{"type": "text", "text": "no"}],
                        }
                    ]
                },
            },
            "✗ no",
        ),
        ({"type": "user", "message": {"content": "plain"}}, "plain"),
        (
            {
                "type": "result",
                "subtype": "success",
                "num_turns": 3,
                "duration_ms": 1234,
                "total_cost_usd": 0.5,
                "result": "done",
            },
            "✓ success, 3 turns, 1.2 s, $0.5000: done",
        ),
        ({"type": "result", "is_error": True}, "✗ result"),
        ({"type": "error", "message": "bad"}, "✗ bad"),
        ({"type": "stdout", "content": "a line"}, "a line"),
        ({"type": "turn.started", "n": 1}, '[turn.started] {"type":"turn.started","n":1}'),
        ({}, "[event] {}"),
    ],
)
def test_a_record_becomes_a_line(record, line):
    assert brief(json.dumps(record)) == (line or None)


@pytest.mark.parametrize(
    "record",
    [
        {"type": "stream_event", "event": {}},
        {"type": "assistant", "message": {"content": []}},
        {"type": "assistant"},
        {"type": "assistant", "message": {"content": [{"type": "image"}, "text", None]}},
    ],
)
def test_what_says_nothing_is_left_out(record):
    assert brief(json.dumps(record)) is None


def test_text_that_is_no_json_is_shown_as_it_is():
    assert brief("plain \x1b[31mtext") == "plain [31mtext"
    assert brief("[1, 2]") == "[1, 2]"
    assert brief("") is None


@pytest.mark.parametrize(
    "record",
    [
        {"type": ["odd"]},
        {"type": "system", "subtype": 5, "tools": "no", "message": {"a": 1}},
        {"type": "result", "num_turns": "x", "duration_ms": None, "total_cost_usd": "free"},
        {"type": "assistant", "message": {"content": [{"type": "tool_use", "input": [1]}]}},
        {"type": "assistant", "message": {"content": [{"type": "text", "text": None}]}},
        {"type": "user", "message": {"content": [{"type": "tool_result", "content": 5}]}},
        {"type": "error", "message": {"deep": "x" * 10_000}},
    ],
)
def test_odd_records_are_survived(record):
    line = brief(json.dumps(record))
    assert line is None or len(line) <= MAX_LINE_CHARS


def test_a_huge_record_is_not_parsed():
    line = brief('{"type":"' + "x" * 1_000_000)
    assert line.startswith("[1,000,009 characters]")
    assert len(line) < 200


@pytest.fixture
def written():
    stream = io.StringIO()
    logs.configure(human=False, stream=stream)
    return stream


def texts(stream):
    return [json.loads(line)["text"] for line in stream.getvalue().splitlines()]


def record(text):
    return RawLog(json.dumps(assistant({"type": "text", "text": text})))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Message("assistant", "Hello\nworld"), "Hello world"),
        (ToolStart("c1", "mcp__a__b", {"x": 1, "y": "z" * 99}), "▸ a:b(x=1, y=" + "z" * 49 + "…)"),
        (ToolStart("c1", "shell", None), "▸ shell()"),
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
    console = Console(Log())
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
    assert texts(written) == ["a", "(thinking) hm", "b", "c", "warning: x"]


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
