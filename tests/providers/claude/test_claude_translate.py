"""The events of each type of native event, on recordings of the real CLI."""

from __future__ import annotations

import pytest
from claude_streams import NAMES, natives, translate

from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    Error,
    Helper,
    Message,
    Plan,
    PlanStep,
    Progress,
    Reasoning,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)

SESSION = "11111111-1111-4111-8111-111111111111"


def test_a_session_begins_with_its_id_version_and_real_model() -> None:
    (init,) = translate("bash").of(SessionInit)
    assert init.session_id == SESSION
    assert (init.provider, init.harness_variant) == ("claude", "stock")
    assert init.harness_variant_meta == {"version": "2.1.329"}
    assert init.model == "claude-opus-5-5"


def test_the_beginning_of_another_turn_is_no_other_session() -> None:
    assert [line.get("subtype") for line in natives("wakeup")].count("init") == 2
    assert len(translate("wakeup").of(SessionInit)) == 1


def test_a_turn_is_text_tool_answer_text_result() -> None:
    fake = translate("bash").of(Message, ToolStart, ToolEnd, Result)
    assert [event.type for event in fake] == [
        "message",
        "tool_start",
        "tool_end",
        "message",
        "result",
    ]
    said, start, end, answer, result = fake
    assert said == Message("assistant", "Working.")
    assert (start.tool_name, start.args["command"]) == ("Bash", "echo hi")
    assert end == ToolEnd(start.tool_call_id, "Bash", "hi", is_error=False)
    assert answer.content == result.output == "It said hi."
    assert result.is_error is False


def test_a_failed_tool_is_told_from_one_that_worked() -> None:
    (end,) = translate("bash_fails").of(ToolEnd)
    assert end.is_error is True
    assert end.result == "Exit code 3"


def test_tools_of_the_swarm_are_found_and_called() -> None:
    names = [start.tool_name for start in translate("swarm_tool").of(ToolStart)]
    assert names == ["ToolSearch", "mcp__agent-swarm__store-progress"]


def test_an_unreachable_tool_server_is_reported() -> None:
    (error,) = translate("hello").of(Error)
    assert error == Error("MCP server gone cannot be reached", "mcp_failed")


def test_context_is_counted_once_per_message_of_the_main_agent() -> None:
    used = translate("bash").of(ContextUsage)
    assert [usage.context_used_tokens for usage in used] == [4201, 4201]
    assert used[0].context_total_tokens == 1_000_000
    assert used[0].context_percent == pytest.approx(0.4201)
    assert len(translate("subagent").of(ContextUsage)) == 2


def test_the_window_the_cli_names_beats_the_table() -> None:
    lines = natives("hello")
    lines[-1]["modelUsage"]["claude-opus-5-5"]["contextWindow"] = 12345
    lines[-1]["modelUsage"] = {"small-model": {"contextWindow": 1}, **lines[-1]["modelUsage"]}
    usage = translate([*lines, *natives("bash")[1:2]]).of(ContextUsage)
    assert usage[-1].context_total_tokens == 12345


def test_a_subagents_tools_show_but_its_words_are_not_the_answer() -> None:
    lines = natives("subagent")
    inside = next(line for line in lines if line.get("parent_tool_use_id"))
    words = {**natives("hello")[1], "parent_tool_use_id": inside["parent_tool_use_id"]}
    *before, result = lines
    fake = translate([*before, words, {**result, "result": ""}])
    assert [start.tool_name for start in fake.of(ToolStart)] == ["Agent", "Bash"]
    assert fake.of(Message)[-1].subagent is True
    assert fake.conclude().output == "The subagent reported."


def test_thinking_is_reasoning_and_todos_are_a_plan() -> None:
    *before, result = natives("hello")
    todos = [
        {"content": "look", "status": "completed", "activeForm": "Looking"},
        {"content": "leap", "status": "in_progress"},
        {"content": "land", "status": "someday"},
        "rest",
    ]
    message = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "x"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "tool_use", "id": "t1", "name": "TodoWrite", "input": {"todos": todos}},
        ],
    }
    fake = translate([*before, {"type": "assistant", "message": message}, result])
    assert fake.of(Reasoning) == [Reasoning("Hm")]
    steps = [("look", "completed"), ("leap", "in_progress"), ("land", "pending"), ("", "pending")]
    assert fake.of(Plan) == [Plan(tuple(PlanStep(*step) for step in steps))]
    assert "Hm" not in str(fake.conclude().output)


def test_a_retry_says_what_is_waited_for() -> None:
    (progress,) = translate("retried_429").of(Progress)
    assert progress.message == "Model API: 429 rate_limit; retry 1 of 1 in 1 s"


def test_a_compaction_says_how_much_there_was() -> None:
    assert translate("local_compact").of(Compaction) == [Compaction(4250, "manual", 1_000_000)]


@pytest.mark.parametrize("place", ["frame", "message"])
def test_an_api_error_is_read_in_both_places(place: str) -> None:
    frame = natives("error_401")[2]
    category = frame.pop("error")
    (frame if place == "frame" else frame["message"])["error"] = category
    events = translate([frame]).events
    assert events == [Error("Invalid API key · Fix external API key", "authentication_failed")]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "error", "error": "it broke"}, Error("it broke")),
        ({"type": "error", "message": "it broke"}, Error("it broke")),
        ({"type": "error", "error": {"message": "m", "type": "t"}}, Error("m", "t")),
        (
            {
                "type": "system",
                "subtype": "permission_denied",
                "tool_name": "Bash",
                "message": "no",
            },
            Error("Bash: no", "permission_denied"),
        ),
    ],
)
def test_errors_that_belong_to_no_message(event: dict[str, object], expected: Error) -> None:
    assert translate([event]).events == [expected]


def test_what_is_not_known_is_skipped() -> None:
    unknown = [{"type": "hologram"}, {"type": "system", "subtype": "new"}, {}, [], None, 7, "text"]
    assert translate(unknown).events == []


# --- when the last word is said


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"killed"}))
def test_a_whole_stream_is_final(name: str) -> None:
    assert translate(name).translator.is_final


def test_a_stream_without_a_result_is_not_final() -> None:
    assert not translate("killed").translator.is_final


def results_are_final(name: str) -> list[bool]:
    lines = natives(name)
    ends = [index for index, line in enumerate(lines, 1) if line["type"] == "result"]
    return [translate(lines[:end]).translator.is_final for end in ends]


def test_a_result_is_not_final_while_a_background_task_runs() -> None:
    assert results_are_final("background") == [False, True]


def test_a_result_is_not_final_while_a_wakeup_is_set() -> None:
    assert results_are_final("wakeup") == [False, True]


def test_a_result_is_not_final_while_turns_are_queued() -> None:
    *lines, result = natives("hello")
    assert not translate([*lines, {**result, "queued_turn_count": 1}]).translator.is_final


def test_a_new_turn_after_a_result_has_to_end_as_well() -> None:
    lines = natives("hello")
    assert not translate([*lines, lines[1]]).translator.is_final
    assert not translate([*lines, lines[0]]).translator.is_final


def test_a_helper_is_named_in_all_that_it_says_and_calls() -> None:
    events = translate("subagent").of(Message, ToolStart, ToolEnd)
    helper = Helper("toolu_000014", "look around")
    spoken = [event for event in events if event.helper]
    assert [type(event) for event in spoken] == [ToolStart, ToolEnd]
    assert {event.helper for event in spoken} == {helper}
    (agent,) = (e for e in events if isinstance(e, ToolStart) and e.tool_name == "Agent")
    assert (agent.tool_call_id, agent.helper) == (helper.id, None)


def test_a_helper_of_a_cli_that_names_none_has_the_description_of_its_call() -> None:
    lines = [
        {name: value for name, value in line.items() if name != "task_description"}
        for line in natives("subagent")
    ]
    starts = translate(lines).of(ToolStart)
    assert [start.helper and start.helper.name for start in starts] == [None, "look around"]
