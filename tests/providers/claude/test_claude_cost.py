"""The cost of a run: every result counted once."""

from __future__ import annotations

from typing import Any

import pytest
from claude_streams import natives, play

from agent_swarm_worker.contract import ModelCost, Result

MODEL = "claude-opus-5-5"


def test_a_result_is_a_complete_row() -> None:
    cost = play("bash").conclude().cost
    assert cost
    assert (cost.task_id, cost.agent_id, cost.provider) == ("task-1", "agent-1", "claude")
    assert cost.total_cost_usd == pytest.approx(0.0132)
    assert (cost.input_tokens, cost.output_tokens) == (2000, 100)
    assert (cost.cache_read_tokens, cost.cache_write_tokens) == (6000, 400)
    assert cost.num_turns == 2
    assert isinstance(cost.duration_ms, int)
    assert (cost.model, cost.is_error) == (MODEL, False)
    (model,) = cost.models
    assert model == ModelCost(
        model=MODEL,
        input_tokens=2000,
        output_tokens=100,
        cache_read_tokens=6000,
        cache_write_tokens=400,
        web_search_requests=0,
        harness_cost_usd=pytest.approx(0.0132),
    )


def test_a_resumed_session_is_not_billed_again() -> None:
    """The recording's ``total_cost_usd`` is 0.0198: the earlier run's 0.0066 are in it."""
    assert natives("resumed")[-1]["total_cost_usd"] == pytest.approx(0.0198)
    cost = play("resumed").conclude().cost
    assert cost
    assert cost.total_cost_usd == pytest.approx(0.0132)
    assert (cost.input_tokens, cost.models[0].input_tokens) == (2000, 2000)


def test_several_results_of_one_process_add_up() -> None:
    fake = play("background")
    costs = [result.cost for result in fake.of(Result)]
    assert [cost.total_cost_usd for cost in costs] == [
        pytest.approx(0.0132),
        pytest.approx(0.0198),
    ]
    assert (costs[-1].input_tokens, costs[-1].num_turns) == (3000, 3)


def test_subagents_are_in_the_sum() -> None:
    assert natives("subagent")[-1]["usage"]["input_tokens"] == 2000
    cost = play("subagent").conclude().cost
    assert cost
    assert cost.input_tokens == 4000


ZEROED = {
    "type": "result",
    "subtype": "error_during_execution",
    "is_error": True,
    "total_cost_usd": 0,
    "usage": {"input_tokens": 0, "output_tokens": 0},
    "modelUsage": {},
}


@pytest.mark.parametrize("newer", [True, False])
def test_a_zeroed_result_wipes_nothing_out(newer: bool) -> None:
    lines = natives("hello")
    zeroed: dict[str, Any] = dict(ZEROED)
    if newer:
        zeroed["model_usage_since_last_result"] = {}
    else:
        del lines[-1]["model_usage_since_last_result"]
    result = play([*lines, zeroed]).conclude(exit_code=1)
    assert result.is_error
    assert result.cost
    assert result.cost.total_cost_usd == pytest.approx(0.0066)


def test_an_older_cli_has_totals_of_its_process() -> None:
    lines = natives("background")
    for line in lines:
        line.pop("model_usage_since_last_result", None)
    cost = play(lines).conclude().cost
    assert cost
    assert (cost.total_cost_usd, cost.input_tokens) == (pytest.approx(0.0198), 3000)


def test_a_stand_in_with_totals_only() -> None:
    result = {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "total_cost_usd": 1.5,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
    cost = play([natives("hello")[0], result]).conclude().cost
    assert cost
    assert (cost.total_cost_usd, cost.input_tokens, cost.output_tokens) == (1.5, 10, 5)
    assert [model.model for model in cost.models] == [MODEL]


def test_what_nobody_said_is_unknown_and_not_zero() -> None:
    cost = play([{"type": "result", "subtype": "success"}]).conclude().cost
    assert cost
    assert (cost.total_cost_usd, cost.models, cost.num_turns) == (None, (), None)
    cost = play("resume_unknown").conclude(exit_code=1).cost
    assert cost
    assert (cost.total_cost_usd, cost.models, cost.num_turns) == (0.0, (), 0)


def test_a_killed_run_is_billed_for_what_is_known() -> None:
    cost = play("killed").conclude(exit_code=137).cost
    assert cost
    assert cost.total_cost_usd is None, "nobody said a price: unknown is not zero"
    assert (cost.input_tokens, cost.cache_read_tokens, cost.cache_write_tokens) == (1000, 3000, 200)
    assert cost.is_error


def many_messages() -> list[Any]:
    """More messages than are kept, each in two frames, the second with more output."""
    frame = natives("hello")[1]
    lines = []
    for number in range(500):
        for output in (1, 7):
            usage = {"input_tokens": 10, "output_tokens": output}
            message = {**frame["message"], "id": f"msg_{number}", "usage": usage}
            lines.append({**frame, "message": message})
    return lines


def test_a_long_run_that_was_killed_is_billed_for_each_message_once() -> None:
    cost = play(many_messages()).conclude(exit_code=137).cost
    assert cost
    assert (cost.input_tokens, cost.output_tokens) == (5000, 3500)


def test_a_result_accounts_for_all_messages_before_it() -> None:
    cost = play([*many_messages(), natives("hello")[-1]]).conclude().cost
    assert cost
    assert cost.input_tokens == 1000


def test_a_run_that_asked_nothing_cost_nothing() -> None:
    cost = play("not_logged_in").conclude(exit_code=1).cost
    assert cost
    assert (cost.total_cost_usd, cost.input_tokens, cost.models) == (0.0, 0, ())


def test_a_price_nobody_knows_is_unknown() -> None:
    lines = natives("hello")
    lines[-1]["model_usage_since_last_result"][MODEL]["costUSD"] = None
    cost = play(lines).conclude().cost
    assert cost
    assert (cost.total_cost_usd, cost.models[0].harness_cost_usd) == (None, None)
    assert cost.input_tokens == 1000


def test_how_long_the_cache_was_written_for_is_only_told_if_it_adds_up() -> None:
    lines = natives("hello")
    usage = lines[-1]["model_usage_since_last_result"][MODEL]
    cost = play(lines).conclude().cost
    assert cost
    assert (cost.cache_write_5m_tokens, cost.cache_write_1h_tokens) == (None, None)
    usage["cacheCreationEphemeral5mInputTokens"] = 150
    usage["cacheCreationEphemeral1hInputTokens"] = 50
    cost = play(lines).conclude().cost
    assert cost
    assert (cost.cache_write_5m_tokens, cost.cache_write_1h_tokens) == (150, 50)
