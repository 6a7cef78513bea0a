"""What a session's end says about its credential: limited until when, or in good health."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.guards.rate_limits import LIMITS, clamp_reset, parse_reset_time
from agent_swarm_worker.logs import Event
from agent_swarm_worker.swarm.queue import WriteKind
from agent_swarm_worker.swarm.wire import windows_body
from agent_swarm_worker.worker.parts import Api, Basics, Config, Logins
from agent_swarm_worker.worker.selection import put_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.contract import HarnessSpec, ProviderResult
    from agent_swarm_worker.login.pools import Selection

UNKNOWN_LIMIT = timedelta(minutes=5)
"""How long a key rests that hit a limit of which no end is known."""
LONGEST_REST = timedelta(days=7)


class Parts(Config, Basics, Api, Logins, Protocol):
    """What this module uses of the worker."""


def report_limits(
    worker: Parts, chosen: Sequence[Selection], result: ProviderResult, spec: HarnessSpec
) -> None:
    """Report what the session learned of its credential's limits; the first one is the one used.

    A key that served a whole session is cleared, whatever its windows say: a subscription may go
    on beyond them. One that hit a limit rests until the time the vendor named, or for a while if
    none was (docs/api.md 14.3). Never both.
    """
    if not chosen:
        return
    used, now = chosen[0], worker.clock.now()
    key = (used.key_type, used.suffix)
    if result.rate_limit_windows:
        windows = windows_body(result.rate_limit_windows, seen_at=wire_time(now))
        put_report(worker, WriteKind.REPORT_WINDOWS, used, {"windows": windows})
    if not result.is_error:
        # Another session may have found the limit after this one got past it.
        if worker.logins.limited_at_s.get(key, -1.0) < used.chosen_at_s:
            put_report(worker, WriteKind.CLEAR_RATE_LIMIT, used, {})
        return
    rest = timedelta(milliseconds=worker.settings.codex_credits_exhausted_cooldown_ms)
    until = limited_until(result, now, credits_rest=rest, error_texts=spec.error_texts)
    if until is not None:
        worker.logins.limited_at_s[key] = worker.clock.monotonic()
        worker.log.warning(Event.CREDENTIAL_LIMITED, key=used.key_type, until=wire_time(until))
        put_report(worker, WriteKind.REPORT_RATE_LIMIT, used, {"until": wire_time(until)})


def limited_until(
    result: ProviderResult,
    now: datetime,
    *,
    credits_rest: timedelta,
    error_texts: Mapping[str, Sequence[str]] | None = None,
) -> datetime | None:
    """Return until when a failed session's credential is of no use; ``None`` if it is not to blame.

    Args:
        result: of the session.
        now: the present moment, aware.
        credits_rest: how long one rests that has no credit left.
        error_texts: what the harness's own errors look like, by class.
    """
    reason = result.failure_reason or ""
    kind = classify_error(reason, category=result.error_category, also=error_texts)
    told = _told(result, reason, now)
    if kind not in LIMITS:
        return clamp_reset(told, now) if told and result.rate_limit_reset_at else None
    if told is not None:
        return clamp_reset(told, now)
    if kind is ErrorClass.BILLING_ERROR:
        return now + min(max(credits_rest, UNKNOWN_LIMIT), LONGEST_REST)
    return now + UNKNOWN_LIMIT


def _told(result: ProviderResult, reason: str, now: datetime) -> datetime | None:
    """The end of the limit: as the harness has it, in the words of the error, by its windows."""
    if result.rate_limit_reset_at:
        try:
            moment = datetime.fromisoformat(result.rate_limit_reset_at)
        except ValueError:
            pass
        else:
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    told = parse_reset_time(reason, now)
    ends = [
        window.resets_at_s
        for window in result.rate_limit_windows.values()
        if window.status == "rejected" and window.resets_at_s
    ]
    if told is None and ends:
        return datetime.fromtimestamp(min(max(ends), 32_503_680_000), UTC)
    return told
