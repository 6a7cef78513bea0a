"""Writing the wire: one bad value must not take its row with it."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.api.values import encode
from agent_swarm_worker.api.wire.bodies import (
    completion_body,
    context_body,
    cost_body,
    event_body,
    latest_model_body,
    session_body,
    vcs_body,
    windows_body,
)
from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    CostData,
    ModelCost,
    RateLimitWindow,
    SessionInit,
)

ODD: Any = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=3), st.booleans())
WHO: dict[str, Any] = {"session_id": "s", "task_id": "t", "agent_id": "a"}
TOKEN_KEYS = ("inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens", "durationMs")


def body_of(cost: CostData) -> dict[str, Any]:
    body = cost_body(cost, **WHO)
    assert body is not None
    return body


def test_a_cost_in_full() -> None:
    share = ModelCost(
        model="m", input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=0
    )
    cost = CostData(
        total_cost_usd=0.5,
        input_tokens=1,
        cache_write_5m_tokens=2,
        models=(share,),
        duration_ms=10,
        model="m",
        provider="claude",
    )
    assert cost_body(cost, **WHO, created_at_ms=7) == {
        "sessionId": "s",
        "agentId": "a",
        "taskId": "t",
        "totalCostUsd": 0.5,
        "inputTokens": 1,
        "cacheWrite5mTokens": 2,
        "durationMs": 10,
        "model": "m",
        "models": [
            {
                "model": "m",
                "inputTokens": 1,
                "outputTokens": 2,
                "cacheReadTokens": 3,
                "cacheWriteTokens": 0,
            }
        ],
        "isError": False,
        "provider": "claude",
        "createdAt": 7,
    }


@given(total=ODD, tokens=ODD, duration=ODD, turns=ODD, provider=ODD)
def test_no_value_voids_a_cost(
    total: Any, tokens: Any, duration: Any, turns: Any, provider: Any
) -> None:
    cost = CostData(
        total_cost_usd=total,
        input_tokens=tokens,
        output_tokens=5,
        duration_ms=duration,
        num_turns=turns,
        provider=provider,
    )
    body = orjson.loads(encode(body_of(cost)))
    assert isinstance(body["totalCostUsd"], int | float)
    assert body["totalCostUsd"] >= 0
    for key in (*TOKEN_KEYS, "numTurns"):
        assert key not in body or (type(body[key]) is int and body[key] >= 0)
    assert "provider" not in body


@pytest.mark.parametrize(
    ("given_value", "sent"),
    [(10.4, 10), (10.6, 11), (-1, None), (math.nan, None), (math.inf, None), (0, 0), (2**60, None)],
)
def test_token_counts_are_whole_and_sane(given_value: Any, sent: int | None) -> None:
    cost = CostData(total_cost_usd=1.0, input_tokens=given_value)
    assert body_of(cost).get("inputTokens") == sent


def test_a_split_that_cannot_be_told_in_full_is_not_told() -> None:
    good = ModelCost(
        model="m", input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4
    )
    bad = ModelCost(
        model="n", input_tokens=-1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4
    )
    assert "models" not in body_of(CostData(total_cost_usd=1.0, models=(good, bad)))


def test_unknown_spend_is_left_to_the_server_to_price() -> None:
    unknown = CostData(input_tokens=10, model="m", provider="codex")
    assert body_of(unknown)["totalCostUsd"] == 0
    assert cost_body(CostData(duration_ms=5), **WHO) is None
    assert body_of(CostData(total_cost_usd=0.0))["totalCostUsd"] == 0


def test_context_snapshots() -> None:
    usage = ContextUsage(context_used_tokens=500, context_percent=140.0, context_formula="made up")
    assert context_body(usage, session_id="s", cumulative_output_tokens=7) == {
        "eventType": "progress",
        "sessionId": "s",
        "contextUsedTokens": 500,
        "cumulativeInputTokens": 500,
        "cumulativeOutputTokens": 7,
    }
    compaction = Compaction(pre_compact_tokens=900, context_total_tokens=1000)
    assert context_body(compaction, session_id="s") == {
        "eventType": "compaction",
        "sessionId": "s",
        "preCompactTokens": 900,
        "compactTrigger": "auto",
        "contextTotalTokens": 1000,
    }
    ended = completion_body(
        session_id="s",
        cumulative_input_tokens=None,
        cumulative_output_tokens=3,
        context_total_tokens=1,
    )
    assert ended == {
        "eventType": "completion",
        "sessionId": "s",
        "cumulativeOutputTokens": 3,
        "contextTotalTokens": 1,
    }


def test_a_session_names_its_harness() -> None:
    known = SessionInit("s", provider="claude", provider_meta={"x": 1}, harness_variant="bridge")
    assert session_body(known, model="opus") == {
        "claudeSessionId": "s",
        "provider": "claude",
        "providerMeta": {"x": 1},
        "model": "opus",
        "harnessVariant": "bridge",
    }
    assert session_body(SessionInit("s", provider="devin")) == {"claudeSessionId": "s"}


def test_windows_events_models_and_links() -> None:
    windows = {
        "a": RateLimitWindow(status="ok", utilization=math.nan, resets_at_s=5, last_seen_at="bad"),
        "b": RateLimitWindow(status="ok", last_seen_at="2026-01-01T00:00:00Z"),
    }
    assert windows_body(windows, seen_at="now") == {
        "a": {"status": "ok", "resetsAt": 5, "lastSeenAt": "now"},
        "b": {"status": "ok", "lastSeenAt": "2026-01-01T00:00:00Z"},
    }
    assert event_body("made.up") is None
    assert event_body("tool.start", status="odd", duration_ms=1.5, data={"a": 1}) == {
        "event": "tool.start",
        "category": "tool",
        "source": "worker",
        "durationMs": 2,
        "data": {"a": 1},
    }
    report: dict[str, Any] = {"source": "task", "task_id": None, "reported_at_ms": 1}
    assert latest_model_body(model="", harness="pi", **report) is None
    assert latest_model_body(model="m", harness=None, reasoning_effort="odd", **report) == {
        "model": "m",
        "source": "task",
        "reportedAt": 1,
    }
    assert vcs_body(provider="github", repo="a/b", number=0, url="https://x") is None
    assert vcs_body(provider="github", repo="a/b", number=1, url="x") is None
    assert vcs_body(provider="github", repo="a/b", number=1, url="https://x") == {
        "vcsProvider": "github",
        "vcsRepo": "a/b",
        "vcsNumber": 1,
        "vcsUrl": "https://x",
    }
