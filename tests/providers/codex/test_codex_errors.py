"""Classes of errors, ends of limits, and the effort levels of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from codex_config import make_state

from agent_swarm_worker.contract import Ending, Error
from agent_swarm_worker.providers.codex import outcome
from agent_swarm_worker.providers.codex.app_server import take_limits
from agent_swarm_worker.providers.codex.outcome import read_error
from agent_swarm_worker.providers.codex.spec import native_effort, resolve_model

NOON_S = 1_795_176_000
"""2026-11-20T12:00:00Z, which is now."""


@pytest.mark.parametrize(
    ("info", "message", "category"),
    [
        ("contextWindowExceeded", "no room", "context_overflow"),
        ("usageLimitExceeded", "You\u2019ve hit your usage limit.", "usage_limit"),
        ("usageLimitExceeded", "Quota exceeded. Check your plan", "billing_error"),
        ("rateLimitExceeded", "slow down", "rate_limit"),
        ("serverOverloaded", "Selected model is at capacity", "overloaded"),
        ("internalServerError", "hm", "server_error"),
        ("unauthorized", "hm", "authentication_failed"),
        ("modelNotFound", "hm", "model_not_found"),
        ("badRequest", "hm", "invalid_request"),
        ("badRequest", "prompt is too long", "context_overflow"),
        ({"responseTooManyFailedAttempts": {"httpStatusCode": 429}}, "hm", "rate_limit"),
        ({"httpConnectionFailed": {"httpStatusCode": 401}}, "hm", "authentication_failed"),
        ({"httpConnectionFailed": {"httpStatusCode": None}}, "hm", "network"),
        ({"responseStreamDisconnected": {}}, "stream disconnected before completion", "network"),
        ("brandNew", "unexpected status 401 Unauthorized", "authentication_failed"),
        (None, "exceeded retry limit, last status: 429 Too Many Requests", "rate_limit"),
        (None, "Codex ran out of room in the model's context window", "context_overflow"),
        (None, "Missing environment variable: `OPENAI_API_KEY`.", "authentication_failed"),
        (None, "Reconnecting... waiting for network (Connection failed)", "network"),
        (None, "something else", "turn_failed"),
        (7, "something else", "turn_failed"),
    ],
)
def test_the_class_of_an_error(info: Any, message: str, category: str):
    assert read_error({"message": message, "codexErrorInfo": info}).category == category


@pytest.mark.parametrize(
    ("message", "windows", "until"),
    [
        ("You\u2019ve hit your usage limit. Try again at 1:30 PM.", {}, "2026-11-20T13:30:00.000Z"),
        (
            "You\u2019ve hit your usage limit.",
            {"primary": {"usedPercent": 100, "windowDurationMins": 300, "resetsAt": NOON_S + 600}},
            "2026-11-20T12:10:00.000Z",
        ),
        (
            "You\u2019ve hit your usage limit.",
            {"primary": {"usedPercent": 80, "windowDurationMins": 300, "resetsAt": NOON_S + 600}},
            None,
        ),
    ],
)
def test_when_a_limit_ends(message: str, windows: Any, until: str | None, tmp_path: Path):
    state = make_state(tmp_path)
    take_limits(state.limits, windows)
    state.end(Error(message, "usage_limit"))
    result = outcome.conclude(state, Ending(exit_code=1))
    assert (result.error_category, result.rate_limit_reset_at) == ("usage_limit", until)


def test_the_windows_of_a_subscription(tmp_path: Path):
    state = make_state(tmp_path)
    take_limits(
        state.limits,
        {
            "primary": {"usedPercent": 42, "windowDurationMins": 300, "resetsAt": NOON_S},
            "secondary": {"usedPercent": 100, "windowDurationMins": 10080},
        },
    )
    windows = outcome.conclude(state, Ending(exit_code=1)).rate_limit_windows
    assert (windows["five_hour"].status, windows["five_hour"].utilization) == ("allowed", 0.42)
    assert windows["five_hour"].resets_at_s == NOON_S
    assert windows["seven_day"].status == "rejected"


def test_a_limit_is_none_of_a_session_that_went_well(tmp_path: Path):
    state = make_state(tmp_path)
    take_limits(state.limits, {"primary": {"usedPercent": 100, "resetsAt": NOON_S + 600}})
    state.turn, state.is_final = "completed", True
    assert outcome.conclude(state, Ending(exit_code=0)).rate_limit_reset_at is None


@pytest.mark.parametrize(
    ("model", "level", "native"),
    [
        ("gpt-5.6-terra", "max", "max"),
        ("gpt-5.6-terra", "off", "none"),
        ("gpt-5.5", "xhigh", "xhigh"),
        ("gpt-5.5", "max", None),
        ("gpt-5.3-codex", "xhigh", None),
        ("gpt-5.1-codex-max", "xhigh", "xhigh"),
        ("gpt-5", "high", "high"),
        ("gpt-5", "xhigh", None),
        ("gpt-6-sol", "off", None),
        ("gpt-4.1", "high", None),
        ("their-model", "high", None),
        ("gpt-5.5", None, None),
    ],
)
def test_efforts(model: str, level: str | None, native: str | None):
    assert native_effort(model, level) == native


@pytest.mark.parametrize(
    ("name", "model"),
    [("Opus", "gpt-5.6-sol"), ("haiku", "gpt-5.6-luna"), (" My/Model ", "My/Model"), ("", "")],
)
def test_short_names(name: str, model: str):
    assert resolve_model(name) == model
