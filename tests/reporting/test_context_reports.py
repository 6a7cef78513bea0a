from __future__ import annotations

import pytest

from agent_swarm_worker.contract import Compaction, ContextUsage, CostData
from agent_swarm_worker.providers.catalog import context_window
from agent_swarm_worker.reporting.context import ContextReports


@pytest.fixture
def sent():
    return []


@pytest.fixture
def context(sent, clock):
    return ContextReports(
        send=sent.append,
        session_uuid="run-1",
        model="opus",
        clock=clock,
        context_window=context_window,
    )


def test_the_first_is_posted_at_once_then_one_per_interval(context, sent, clock):
    for used in (100, 200, 300):
        context.usage(ContextUsage(used, 1000, 10.0, output_tokens=5))
    assert [body["contextUsedTokens"] for body in sent] == [100]
    clock.skip(30)
    context.tick()
    assert [body["contextUsedTokens"] for body in sent] == [100, 300]


def test_output_is_summed_over_all_events_not_only_the_posted_ones(context, sent, clock):
    for _ in range(10):
        context.usage(ContextUsage(100, 1000, 10.0, output_tokens=7))
        clock.skip(4)
    assert [body["cumulativeOutputTokens"] for body in sent] == [7, 63]


def test_a_full_snapshot(context, sent):
    context.usage(
        ContextUsage(500, 1000, 50.0, output_tokens=7, context_formula="input-cache-output")
    )
    assert sent == [
        {
            "eventType": "progress",
            "sessionId": "run-1",
            "contextUsedTokens": 500,
            "contextTotalTokens": 1000,
            "contextPercent": 50.0,
            "cumulativeInputTokens": 500,
            "cumulativeOutputTokens": 7,
            "contextFormula": "input-cache-output",
        }
    ]


def test_what_the_harness_does_not_say_comes_from_the_table(context, sent):
    context.usage(ContextUsage(250_000))
    assert (sent[0]["contextTotalTokens"], sent[0]["contextPercent"]) == (1_000_000, 25.0)


def test_what_nobody_knows_is_left_out_and_never_null(sent, clock):
    context = ContextReports(
        send=sent.append,
        session_uuid="r",
        model="gpt-5.4",
        clock=clock,
        context_window=lambda _: None,
    )
    context.usage(ContextUsage(1000, context_formula="made-up"))
    context.compaction(Compaction(900))
    context.completion(None)
    assert all(value is not None for body in sent for value in body.values())
    assert "contextTotalTokens" not in sent[0]
    assert "contextPercent" not in sent[0]
    assert "contextFormula" not in sent[0]


def test_a_window_once_reported_is_remembered(sent, clock):
    context = ContextReports(
        send=sent.append,
        session_uuid="r",
        model="gpt-5.4",
        clock=clock,
        context_window=lambda _: None,
    )
    context.usage(ContextUsage(1000, 400_000))
    context.completion(None)
    assert sent[-1]["contextTotalTokens"] == 400_000


@pytest.mark.parametrize(("percent", "posted"), [(150.0, 100.0), (-3.0, 0.0)])
def test_a_percentage_is_kept_within_bounds(context, sent, percent, posted):
    context.usage(ContextUsage(10, 1000, percent))
    assert sent[0]["contextPercent"] == posted


def test_odd_numbers_do_not_void_the_snapshot(context, sent):
    context.usage(ContextUsage(float("nan"), 0, float("nan"), output_tokens=-5))
    context.usage(ContextUsage(12.6, 1000, None, output_tokens=None))
    context.completion(None)
    assert "contextUsedTokens" not in sent[0]
    assert "contextPercent" not in sent[0]
    assert sent[-1]["cumulativeOutputTokens"] == 0
    assert all(isinstance(body.get("contextUsedTokens", 0), int) for body in sent)


def test_every_compaction_is_posted_behind_what_was_kept_back(context, sent):
    context.usage(ContextUsage(100, 1000, 10.0))
    context.usage(ContextUsage(950, 1000, 95.0))
    context.compaction(Compaction(950, "manual"))
    context.compaction(Compaction(940, "auto", 2000))
    assert [body["eventType"] for body in sent] == [
        "progress",
        "progress",
        "compaction",
        "compaction",
    ]
    assert sent[2] == {
        "eventType": "compaction",
        "sessionId": "run-1",
        "preCompactTokens": 950,
        "compactTrigger": "manual",
        "contextTotalTokens": 1000,
    }
    assert sent[3]["contextTotalTokens"] == 2000


def test_the_completion_uses_what_was_billed(context, sent):
    context.usage(ContextUsage(100, None, None, output_tokens=5))
    context.completion(CostData(input_tokens=1234, output_tokens=56))
    assert sent[-1] == {
        "eventType": "completion",
        "sessionId": "run-1",
        "cumulativeInputTokens": 1234,
        "cumulativeOutputTokens": 56,
        "contextTotalTokens": 1_000_000,
    }


def test_the_completion_without_a_cost_uses_what_was_measured(context, sent):
    context.usage(ContextUsage(100, None, None, output_tokens=5))
    context.completion(None)
    assert (sent[-1]["cumulativeInputTokens"], sent[-1]["cumulativeOutputTokens"]) == (100, 5)


def test_the_last_snapshot_is_not_lost_to_the_throttle(context, sent):
    context.usage(ContextUsage(100, 1000, 10.0))
    context.usage(ContextUsage(990, 1000, 99.0))
    context.completion(None)
    assert [body.get("contextUsedTokens") for body in sent] == [100, 990, None]


def test_nothing_known_nothing_said(context, sent):
    context.completion(None)
    assert sent == []
