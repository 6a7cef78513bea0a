"""When a limit ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent_swarm_worker.guards.rate_limits import clamp_reset, parse_reset_time

NOW = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)


def at(
    day: int, hour: int, minute: int = 0, second: int = 0, *, month: int = 11, year: int = 2026
) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("resets 3pm (UTC)", at(21, 15)),
        ("resets 7pm (UTC)", at(20, 19)),
        ("resets 7:10pm", at(20, 19, 10)),
        ("Limit reached · resets at 7:10 pm.", at(20, 19, 10)),
        ("resets 12am (UTC)", at(21, 0)),
        ("resets at 19:10 UTC", at(20, 19, 10)),
        ("resets Nov 21, 3pm (UTC)", at(21, 15)),
        ("resets November 21st at 3:05pm", at(21, 15, 5)),
        ("resets Nov 19 at 3pm", at(19, 15, year=2027)),
        ("resets 3pm (America/New_York)", at(20, 20)),
        ("resets 9am (Asia/Tokyo)", at(21, 0)),
        ("You've hit your usage limit … try again at 8:35 PM.", at(20, 20, 35)),
        ("try again at Jan 15th, 2027 8:00 AM.", at(15, 8, month=1, year=2027)),
        ("Claude AI usage limit reached|1795204800", at(20, 20)),
        ("Claude AI usage limit reached|1795204800000", at(20, 20)),
        ("resets at 2026-11-20T22:00:00Z", at(20, 22)),
        ("try again after 2026-11-21 01:00:00+02:00", at(20, 23)),
        ("retry-after: 30", at(20, 18, 0, 30)),
        ('{"retry_after": 30}', at(20, 18, 0, 30)),
        ("Retry after 45 seconds", at(20, 18, 0, 45)),
        ("retry after 2 hours", at(20, 20)),
        ("Please try again in 6m0s.", at(20, 18, 6)),
        ("try again in 1 hour and 15 minutes", at(20, 19, 15)),
        ("Suggested retry after 2s.", at(20, 18, 0, 2)),
        ("please wait 10 minutes", at(20, 18, 10)),
        ("resets in 3 hours 20 minutes", at(20, 21, 20)),
        ("try again in 2 days", at(22, 18)),
    ],
)
def test_understood(text: str, moment: datetime) -> None:
    assert parse_reset_time(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rate limit exceeded",
        "resets 25pm (UTC)",
        "resets 0pm",
        "resets 13pm",
        "resets 3:75pm",
        "resets 24:00",
        "resets Feb 30, 3pm (UTC)",
        "resets Foo 3, 3pm",
        "resets 3pm (Mars/Olympus)",
        "resets 3pm (America)",
        "resets 3pm (etc/passwd)",
        "try again 3 times",
        "try again at your own risk",
        "retry after 0 seconds",
        "retry after 9999999 seconds",
        "retry after 400 hours",
        "resets at 2026-13-40T22:00:00Z",
    ],
)
def test_not_understood(text: str) -> None:
    assert parse_reset_time(text, NOW) is None


@pytest.mark.parametrize(
    ("now", "moment"),
    [
        (at(20, 18), at(20, 20, 35)),
        (at(20, 21), at(21, 20, 35)),
        (at(20, 20, 35, 30), at(20, 20, 35)),
        (at(20, 20, 38), at(21, 20, 35)),
    ],
)
def test_a_time_of_day_that_has_just_passed_is_today(now: datetime, moment: datetime) -> None:
    assert parse_reset_time("try again at 8:35 PM.", now) == moment


def test_any_zone_of_now_will_do() -> None:
    here = NOW.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    moment = parse_reset_time("resets 7pm (UTC)", here)
    assert moment == at(20, 19)
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    ("offset", "clamped"),
    [
        (timedelta(days=-300), timedelta(seconds=60)),
        (timedelta(seconds=5), timedelta(seconds=60)),
        (timedelta(hours=5), timedelta(hours=5)),
        (timedelta(days=300), timedelta(days=7)),
    ],
)
def test_clamp(offset: timedelta, clamped: timedelta) -> None:
    assert clamp_reset(NOW + offset, NOW) == NOW + clamped


def test_long_texts_take_no_time() -> None:
    for unit in ("resets ", "try again in 1", "resets Nov 1 ", "1m", "retry after 1 "):
        assert parse_reset_time(unit * 100_000 + "!", NOW) in {None, NOW + timedelta(seconds=1)}
