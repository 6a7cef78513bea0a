"""The translator of subprocess accepts any output."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_config import session_config

from agent_swarm_worker.contract import Custom, Ending, Helper, Message, Result, ToolStart
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.subprocess.translate import (
    MAX_TEXT_OUTPUT,
    NORMALIZED_TYPES,
    OutputMode,
    SubprocessTranslator,
    read_normalized,
)

NAMES = st.sampled_from(
    [
        "message",
        "content",
        "role",
        "toolName",
        "tool_call_id",
        "args",
        "output",
        "cost",
        "isError",
        "contextUsedTokens",
        "contextPercent",
        "name",
        "data",
        "sessionId",
        "totalCostUsd",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.builds(
    lambda kind, more: more | {"type": kind},
    st.sampled_from([*sorted(NORMALIZED_TYPES), "system", "assistant", "unknown"]) | VALUES,
    st.dictionaries(NAMES, VALUES, max_size=5),
)


def translator(mode: OutputMode) -> SubprocessTranslator:
    return SubprocessTranslator(mode, ClaudeTranslator(session_config()))


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS | VALUES, max_size=6), st.integers(0, 255))
def test_no_event_is_too_strange(said: list[Any], exit_code: int):
    for mode in ("auto", "jsonl", "stream-json", "text"):
        reader = translator(mode)
        for native in said:
            if reader.is_text(native):
                list(reader.feed_text(str(native)))
            else:
                list(reader.feed(native))
        result = reader.conclude(Ending(exit_code=exit_code))
        assert result.is_error or result.exit_code == 0
        assert not result.is_error or result.failure_reason


@pytest.mark.parametrize("name", ["session.journal", "anything"])
def test_a_custom_event_may_have_any_name(name: str):
    assert read_normalized({"type": "custom", "name": name, "data": {}}) == Custom(name, {})
    assert read_normalized({"type": "custom"}) == Custom("custom", None)


def test_both_spellings_are_read():
    for event in (
        {"type": "result", "isError": True, "errorCategory": "x"},
        {"type": "result", "is_error": True, "error_category": "x"},
    ):
        assert read_normalized(event) == Result(None, None, is_error=True, error_category="x")


@pytest.mark.parametrize("value", [True, -1, "7", None, [7], float("inf"), float("nan")])
def test_what_is_no_amount_is_not_known(value: object):
    assert read_normalized({"type": "context_usage", "contextUsedTokens": value}) is None


def test_of_long_text_the_end_is_kept():
    reader = translator("text")
    for number in range(10_000):
        list(reader.feed_text(f"line {number}"))
    list(reader.feed_text("x" * 100))
    output = reader.conclude(Ending(exit_code=0)).output or ""
    assert len(output) <= MAX_TEXT_OUTPUT
    assert output.endswith("line 9999\n" + "x" * 100)
    list(reader.feed_text("y" * 100_000))
    assert reader.conclude(Ending(exit_code=0)).output == "y" * MAX_TEXT_OUTPUT


@pytest.mark.parametrize(
    ("ending", "category", "reason"),
    [
        (Ending(exit_code=0), None, None),
        (Ending(exit_code=143, aborted="cancelled"), None, None),
        (Ending(exit_code=137, hung_after_result=True), None, None),
        (Ending(exit_code=139), None, None),
        (Ending(exit_code=1, stderr_tail="oh no"), None, "The command exited with code 1: oh no"),
        (
            Ending(exit_code=1, stderr_tail="HTTP 429: Too Many Requests"),
            "rate_limit",
            "The command exited with code 1: HTTP 429: Too Many Requests",
        ),
    ],
)
def test_how_a_session_ends_after_a_good_result(
    ending: Ending, category: str | None, reason: str | None
):
    reader = translator("jsonl")
    list(reader.feed({"type": "result", "output": "done"}))
    result = reader.conclude(ending)
    assert (result.is_error, result.error_category, result.failure_reason) == (
        reason is not None,
        category,
        reason,
    )
    assert result.output == (None if reason else "done")


def test_plain_words_of_a_program_that_was_done_before_the_abort_are_its_result():
    reader = translator("text")
    list(reader.feed_text("all done"))
    result = reader.conclude(Ending(exit_code=0, aborted="cancelled"))
    assert (result.is_error, result.output) == (False, "all done")


def test_an_aborted_session_without_a_result_says_so():
    for mode in ("auto", "jsonl", "stream-json", "text"):
        result = translator(mode).conclude(Ending(exit_code=143, aborted="cancelled"))
        assert (result.is_error, result.error_category) == (True, "aborted")


@pytest.mark.parametrize(
    ("fields", "helper"),
    [
        ({"helper": {"id": "h1", "name": "review"}}, Helper("h1", "review")),
        ({"helper": "h1"}, Helper("h1")),
        ({"parentToolUseId": "h1"}, Helper("h1")),
        ({"parent_tool_use_id": None}, None),
        ({"helper": {"name": "review"}}, None),
        ({"helper": 7}, None),
        ({"helper": ""}, None),
    ],
)
def test_a_program_says_which_helper_calls(fields: dict[str, Any], helper: Helper | None):
    event = read_normalized({"type": "tool_start", "toolName": "Read", **fields})
    assert event == ToolStart("", "Read", None, helper)
    said = read_normalized({"type": "message", "content": "Hi", **fields})
    assert isinstance(said, Message)
    assert (said.helper, said.subagent) == (helper, helper is not None)


def test_the_words_of_a_helper_are_not_the_output():
    config = session_config()
    translator = SubprocessTranslator("jsonl", ClaudeTranslator(config))
    translator.feed({"type": "message", "content": "the answer"})
    translator.feed({"type": "message", "content": "of a helper", "helper": "h1"})
    translator.feed({"type": "result"})
    assert translator.conclude(Ending(exit_code=0)).output == "the answer"
