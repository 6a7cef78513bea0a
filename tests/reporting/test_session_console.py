from __future__ import annotations

import json

import pytest

from agent_swarm_worker.contract import Message, RawLog, RawStderr
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


def test_the_listener_logs_output_and_nothing_else(capsys):
    console = Console(Log())
    console.on_event(RawLog(json.dumps(assistant({"type": "text", "text": "Hello"}))))
    console.on_event(RawLog(""))
    console.on_event(RawStderr("warning: x\n"))
    console.on_event(Message("assistant", "Hello"))
    captured = capsys.readouterr()
    output = captured.out + captured.err
    assert output.count("session.output") == 1
    assert output.count("session.stderr") == 1
    assert "Hello" in output
    assert "warning: x" in output
