"""What a session's end reports about its credential."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from agent_swarm_worker.contract import ProviderResult, RateLimitWindow
from agent_swarm_worker.credentials.credential import LoginState
from agent_swarm_worker.credentials.pools import Selection
from agent_swarm_worker.logs import Log
from agent_swarm_worker.providers.subprocess.spec import SPEC
from agent_swarm_worker.settings import Settings
from agent_swarm_worker.worker.run.session_credentials import limited_until, report_limits

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
REST = timedelta(hours=2)


def failed(reason: str, category: str | None = None, **more: Any) -> ProviderResult:
    return ProviderResult(
        exit_code=1, is_error=True, failure_reason=reason, error_category=category, **more
    )


def rejected(resets_at: datetime | None) -> dict[str, RateLimitWindow]:
    seconds = int(resets_at.timestamp()) if resets_at else None
    return {"five_hour": RateLimitWindow(status="rejected", resets_at_s=seconds)}


@pytest.mark.parametrize(
    ("result", "rests"),
    [
        (failed("x", "rate_limit"), timedelta(minutes=5)),
        (failed("x", "usage_limit"), timedelta(minutes=5)),
        (failed("429 Too Many Requests", "crashed"), timedelta(minutes=5)),
        (failed("429 Too Many Requests: retry after 90 seconds"), timedelta(seconds=90)),
        (failed("You've hit your usage limit. Try again in 3 hours"), timedelta(hours=3)),
        (failed("hit your session limit · resets 3pm (UTC)"), timedelta(hours=3)),
        (failed("hit your session limit · resets 11am (UTC)"), timedelta(hours=23)),
        (failed("hit your usage limit · resets 9am (America/New_York)"), timedelta(hours=2)),
        (failed("rate limit exceeded, retry after 2 seconds"), timedelta(minutes=1)),
        (
            failed("Rate limit", "rate_limit", rate_limit_windows=rejected(None)),
            timedelta(minutes=5),
        ),
        (
            failed("Rate limit", "rate_limit", rate_limit_windows=rejected(NOW + REST)),
            REST,
        ),
        (
            failed("x", "rate_limit", rate_limit_reset_at="2027-11-21T12:00:00.000Z"),
            timedelta(days=7),
        ),
        (failed("x", "rate_limit", rate_limit_reset_at="nonsense"), timedelta(minutes=5)),
        (failed("out of credits", None), REST),
        (failed("x", "billing_error"), REST),
        (failed("insufficient_quota", "crashed"), REST),
        (failed("SyntaxError in line 429", "crashed"), None),
        (failed("x", "authentication_failed"), None),
        (failed("overloaded", "overloaded"), None),
    ],
)
def test_how_long_a_credential_rests(result: ProviderResult, rests: timedelta | None):
    until = limited_until(result, NOW, credits_rest=REST)
    assert until == (None if rests is None else NOW + rests)


@pytest.mark.parametrize(
    ("setting", "rests"),
    [
        (timedelta(0), timedelta(minutes=5)),
        (timedelta(milliseconds=-5), timedelta(minutes=5)),
        (timedelta(minutes=42), timedelta(minutes=42)),
        (timedelta(days=8), timedelta(days=7)),
    ],
)
def test_the_rest_of_spent_credit_is_kept_within_bounds(setting: timedelta, rests: timedelta):
    until = limited_until(failed("x", "billing_error"), NOW, credits_rest=setting)
    assert until == NOW + rests


def test_a_success_that_began_before_a_limit_was_met_does_not_lift_it():
    now_s = [100.0]
    put: list[str] = []
    worker: Any = SimpleNamespace(
        clock=SimpleNamespace(now=lambda: NOW, monotonic=lambda: now_s[0]),
        logins=LoginState(),
        log=Log(),
        settings=Settings.load({}),
        outbox=SimpleNamespace(put=lambda _, kind, __: put.append(kind.value)),
    )
    early = Selection("CODEX_OAUTH", 0, 1, "QWERT", "v", chosen_at_s=50.0)
    report_limits(worker, [early], failed("x", "usage_limit"), SPEC)
    report_limits(worker, [early], ProviderResult(exit_code=0, is_error=False), SPEC)
    assert put == ["report_rate_limit"]
    late = Selection("CODEX_OAUTH", 0, 1, "QWERT", "v", chosen_at_s=101.0)
    report_limits(worker, [late], ProviderResult(exit_code=0, is_error=False), SPEC)
    assert put == ["report_rate_limit", "clear_rate_limit"]
    report_limits(worker, [], failed("x", "usage_limit"), SPEC)
    assert len(put) == 2
