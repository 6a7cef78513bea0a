"""Rendering the lines of a session log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent_swarm_worker.cli.follow import render_line


def assistant(*content: Any) -> dict[str, Any]:
    return {"type": "assistant", "message": {"role": "assistant", "content": list(content)}}


CALL = {"type": "tool_use", "name": "Bash", "input": {"command": "ls", "description": "Look"}}


@pytest.mark.parametrize(
    ("native", "shown"),
    [
        (assistant({"type": "text", "text": "Hi"}), [("💬", "Hi")]),
        (assistant({"type": "text", "text": "a"}, CALL), [("💬", "a"), ("🔧", "⚡ Look")]),
        ({"type": "assistant", "message": {"content": "Hi"}}, [("💬", "Hi")]),
        ({"type": "message", "role": "assistant", "content": "Hi"}, [("💬", "Hi")]),
        ({"type": "tool_start", "toolName": "Read", "args": {}}, [("🔧", "📖 Reading a file")]),
        ({"type": "tool_start", "toolName": "TodoWrite"}, [("🔧", "TodoWrite")]),
        (
            assistant(CALL) | {"parent_tool_use_id": "t1", "task_description": "review"},
            [("🔧", "🤖 review: ⚡ Look")],
        ),
        (
            {"type": "message", "content": "Hi", "helper": {"id": "t1", "name": "review"}},
            [("💬", "🤖 review: Hi")],
        ),
        ({"type": "progress", "message": "Compiling"}, [("…", "Compiling")]),
        ({"type": "error", "message": "it broke"}, [("✘", "it broke")]),
        ({"type": "stdout", "content": "plain"}, [("│", "plain")]),
        ({"type": "stderr", "content": "oops"}, [("│", "oops")]),
        (42, [("│", "42")]),
    ],
)
def test_words_and_tool_calls_are_shown(native: Any, shown: list[tuple[str, str]]):
    assert list(render_line(json.dumps(native))) == shown


@pytest.mark.parametrize(
    "native",
    [
        {"type": "user", "message": {"content": "the prompt, replayed"}},
        {"type": "message", "role": "user", "content": "the same"},
        {"type": "result", "output": "shown at the end anyway"},
        {"type": "system", "subtype": "init"},
        assistant({"type": "text", "text": "  "}, {"type": "thinking"}, 7, None),
        {"type": "assistant", "message": {"content": 7}},
        {"type": "assistant", "message": None},
        {"type": ["no", "type"], "message": {}},
        {"type": {}, "message": "x"},
        {},
    ],
)
def test_the_rest_is_not(native: Any):
    assert list(render_line(json.dumps(native))) == []


def test_what_is_no_json_is_shown_as_it_is():
    assert list(render_line("plain words {")) == [("│", "plain words {")]
    assert list(render_line("   ")) == []
