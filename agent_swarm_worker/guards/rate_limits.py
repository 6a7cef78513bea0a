"""Read from an error text whether a credential has hit a limit, and when the limit ends."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from agent_swarm_worker.guards.error_classes import MAX_CLASSIFIED_CHARS, ErrorClass

LIMITS: Final = frozenset({ErrorClass.RATE_LIMIT, ErrorClass.USAGE_LIMIT, ErrorClass.BILLING_ERROR})
"""Failures that another credential may not have."""

EARLIEST_RESET: Final = timedelta(seconds=60)
LATEST_RESET: Final = timedelta(days=7)
_JUST_PAST: Final = timedelta(minutes=2)
"""A time of day that passed no longer ago than this means today: the clocks differ a little."""

_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec"
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}

_EPOCH = re.compile(r"\|(\d{10})(\d{3})?\b")
_ISO = re.compile(
    r"\b(?:resets?|try again|retry|until|available)\b[^\n]{0,40}?\b"
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?)",
    re.IGNORECASE,
)
_CLOCK = re.compile(
    r"\b(?:resets?|try again)\b(?: (?:on|at))?:?\s+"
    r"(?:(?P<month>[a-z]{3,9})\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?,?"
    r"(?: (?P<year>\d{4}),?)?(?: at)? )?"
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d\d))?(?:[ \u202f]?(?P<half>[ap])\.?m\b\.?)?"
    r"(?: ?\((?P<zone>[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*)\)| (?P<bare_zone>UTC|GMT)\b)?",
    re.IGNORECASE,
)
_WAIT = re.compile(
    r"\b(?:retry[- _]?after|(?:re)?try again (?:in|after)|wait|resets? in|available in)\b"
    r"[\s:=\"']{1,4}(?:about |for |another )?(?P<amounts>(?:\d{1,7}(?:\.\d{1,6})?\s?"
    r"(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|hr|h|days?|d)?\b"
    r"(?:,| and)?\s?|\d{1,3}[hms]){1,4})",
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"(\d{1,7}(?:\.\d{1,6})?)\s?(ms|milli|s|m|h|d)?", re.IGNORECASE)


def parse_reset_time(text: str, now: datetime) -> datetime | None:
    """Return when a limit ends according to a text, in UTC; ``None`` if it does not say.

    Understood are epoch seconds after a bar (``…reached|1779202200``), ISO times, times of day
    with or without a date and a time zone (none means UTC), and waits (``retry-after: 30``,
    ``try again in 1h 5m``). A time of day or date that has passed becomes the next day or year;
    impossible values (25pm, 30 February, a wait of over a week) are ignored. `now` is aware.
    """
    start = text[:MAX_CLASSIFIED_CHARS]
    for parse in (_from_epoch, _from_iso, _from_clock, _from_wait):
        moment = parse(start, now)
        if moment is not None:
            return moment.astimezone(UTC)
    return None


def clamp_reset(moment: datetime, now: datetime) -> datetime:
    """Limit a reset to between a minute and a week from now (docs/api.md 14.3)."""
    return min(max(moment, now + EARLIEST_RESET), now + LATEST_RESET)


def _from_epoch(text: str, _: datetime) -> datetime | None:
    found = _EPOCH.search(text)
    return datetime.fromtimestamp(int(found[1]), UTC) if found else None


def _from_iso(text: str, _: datetime) -> datetime | None:
    found = _ISO.search(text)
    if not found:
        return None
    try:
        moment = datetime.fromisoformat(found[1])
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _from_clock(text: str, now: datetime) -> datetime | None:
    for found in _CLOCK.finditer(text):
        if not (found["half"] or found["minute"]):
            continue  # "try again 3 times"
        zone = _zone(found["zone"] or found["bare_zone"])
        moment = _next(found, now.astimezone(zone)) if zone else None
        if moment is not None:
            return moment
    return None


def _next(found: re.Match[str], now: datetime) -> datetime | None:
    """Return the first moment from `now` on, in its zone, that the match can mean."""
    hour = _hour(int(found["hour"]), (found["half"] or "").lower())
    if hour is None:
        return None
    try:
        moment = now.replace(hour=hour, minute=int(found["minute"] or 0), second=0, microsecond=0)
        if not found["month"]:
            is_past = moment < now - _JUST_PAST
            return moment + timedelta(days=1) if is_past else moment
        month = _MONTHS.index(found["month"][:3].lower()) // 4 + 1
        moment = moment.replace(
            year=int(found["year"] or now.year), month=month, day=int(found["day"])
        )
        if found["year"] or moment >= now - _JUST_PAST:
            return moment
        return moment.replace(year=now.year + 1)
    except ValueError:
        return None


def _hour(hour: int, half: str) -> int | None:
    if not half:
        return hour
    return hour % 12 + (12 if half == "p" else 0) if 1 <= hour <= 12 else None


def _zone(name: str | None) -> tzinfo | None:
    if name is None or name.upper() in {"UTC", "GMT", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ill-formed, a directory, unknown here
        return None


def _from_wait(text: str, now: datetime) -> datetime | None:
    for found in _WAIT.finditer(text):
        total_s = 0.0
        for amount, unit in _AMOUNT.findall(found["amounts"]):
            total_s += float(amount) * _UNIT_SECONDS[_short_unit(unit)]
        wait = timedelta(seconds=total_s)
        if timedelta(0) < wait <= LATEST_RESET:
            return now + wait
    return None


def _short_unit(unit: str) -> str:
    return {"": "s", "milli": "ms"}.get(unit.lower(), unit.lower())
