"""How a session ended: its process's end and its last words become a `ProviderResult`.

A harness judges its own final event; what a process that ended without one means is the same for
all of them (`unfinished`), and so is the form of the result (`concluded`).

The rate limits of a subscription: the state of each window, and when one that was hit ends.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from agent_swarm_worker.clock import Clock, wire_time
from agent_swarm_worker.contract import ProviderResult, RateLimitWindow
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.guards.rate_limits import LIMITS, clamp_reset, parse_reset_time
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from agent_swarm_worker.contract import CostData, Error
    from agent_swarm_worker.providers.kit.launch import Ending

ABORTED_EXIT: Final = 130
"""Exit code of a session that was aborted, unless its process has another; a shell's for SIGINT."""
MAX_REASON_CHARS: Final = 500
TAIL_CHARS: Final = 250
"""How much of standard error is quoted."""

LABELS: Final[dict[str, str]] = {
    "interrupted": "Interrupted",
    ErrorClass.AUTHENTICATION_FAILED: "Authentication failed",
    ErrorClass.BILLING_ERROR: "Billing error",
    ErrorClass.CONTEXT_OVERFLOW: "The prompt is too long for the model",
    ErrorClass.INVALID_REQUEST: "The model API refused the request",
    ErrorClass.MODEL_NOT_FOUND: "Unknown model",
    ErrorClass.NETWORK: "The model API cannot be reached",
    ErrorClass.OVERLOADED: "The model API is overloaded",
    ErrorClass.PERMISSION_DENIED: "The model API does not permit this",
    ErrorClass.RATE_LIMIT: "Rate limit hit",
    ErrorClass.SERVER_ERROR: "The model API failed",
    ErrorClass.STALE_SESSION: "The session to resume is gone",
    ErrorClass.USAGE_LIMIT: "Usage limit reached",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a session failed."""

    category: str | None
    """``None`` if nothing is known but that it failed."""
    reason: str
    """One readable line."""


def failure(category: str, said: str = "", labels: Mapping[str, str] = LABELS) -> Failure:
    """Return a failure in which the category's own words come first."""
    label = labels.get(category, "Session error")
    return Failure(category, one_line(f"{label}: {said}" if said else label, MAX_REASON_CHARS))


def aborted(ending: Ending) -> Failure | None:
    """Return the failure of a session that was asked to end, if it was."""
    if ending.aborted is None:
        return None
    return Failure("aborted", one_line(f"Aborted: {ending.aborted}", MAX_REASON_CHARS))


def as_aborted(result: ProviderResult, reason: str) -> ProviderResult:
    """Return the result of a session that was asked to end before its harness was finished.

    Output, cost and limits are what the harness reported; success or another failure is not.
    """
    if result.error_category == "aborted":
        return result
    return replace(
        result,
        exit_code=result.exit_code or ABORTED_EXIT,
        is_error=True,
        error_category="aborted",
        failure_reason=one_line(f"Aborted: {reason}", MAX_REASON_CHARS),
        cost=replace(result.cost, is_error=True) if result.cost is not None else None,
    )


def unfinished(
    name: str,
    ending: Ending,
    classify: Callable[[str], str],
    *,
    last_error: Error | None = None,
    waiting_for: str = "",
) -> Failure:
    """Say why a process ended without a final event.

    Args:
        name: of the harness, as it begins a sentence.
        ending: what is known of the process.
        classify: returns the category that a text names, or ``unknown``.
        last_error: the last error that it reported and did not get over.
        waiting_for: the request that it left without an answer.
    """
    how = f"{name} {how_it_ended(ending.exit_code)} before it was finished"
    how += f", without an answer to {waiting_for}" if waiting_for else ""
    if last_error is not None:
        said = one_line(f"{how}; before that: {last_error.message}", MAX_REASON_CHARS)
        return Failure(last_error.category or "crashed", said)
    if ending.truncated:
        return Failure("truncated", f"{how}; its output was cut off")
    tail = " ".join(ending.stderr_tail.split())[-TAIL_CHARS:]
    category = classify(tail) if tail else ErrorClass.UNKNOWN.value
    if category == ErrorClass.UNKNOWN.value:
        category = "killed" if ending.exit_code > 128 else "crashed"
    return Failure(category, one_line(f"{how}: {tail}" if tail else how, MAX_REASON_CHARS))


def concluded(
    failed: Failure | None,
    *,
    exit_code: int,
    session_id: str | None = None,
    cost: CostData | None = None,
    output: str | None = None,
    reset_at: str | None = None,
    windows: Mapping[str, RateLimitWindow] | None = None,
    applied_effort: str | None = None,
) -> ProviderResult:
    """Return the result of a session that failed for this reason, or did not."""
    return ProviderResult(
        exit_code=exit_code,
        is_error=failed is not None,
        session_id=session_id,
        cost=cost,
        output=output,
        error_category=failed.category if failed else None,
        failure_reason=failed.reason if failed else None,
        rate_limit_reset_at=reset_at,
        rate_limit_windows=dict(windows or {}),
        applied_reasoning_effort=applied_effort,
    )


def reset_of(
    category: str | None, text: str, now: datetime, *moments: datetime | None
) -> str | None:
    """Return when the limit ends that a session has hit, as the wire wants times.

    Only a session that failed of a limit has hit one: overage lets others go on.

    Args:
        category: of the failure.
        text: which may name the time, if none of the moments is known.
        now: the present moment.
        moments: the first that is known counts.
    """
    if category not in LIMITS:
        return None
    known = (moment for moment in moments if moment is not None)
    moment = next(known, None) or parse_reset_time(text, now)
    return wire_time(clamp_reset(moment, now)) if moment else None


def how_it_ended(exit_code: int) -> str:
    """Say how a process ended, from its exit code as a shell has it."""
    try:
        name = signal.Signals(exit_code - 128).name if exit_code > 128 else ""
    except ValueError:
        name = ""
    return f"was ended by {name}" if name else f"exited with code {exit_code}"


REJECTED = "rejected"


class LimitWindows:
    """Remembers the state of every window that a harness reports."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.windows: dict[str, RateLimitWindow] = {}
        self.resets_at: datetime | None = None
        """When the limit ends that was hit last."""

    def note(
        self,
        name: str,
        status: str,
        *,
        utilization: float | None = None,
        resets_at_s: float | None = None,
        is_using_overage: bool | None = None,
        surpassed_threshold: float | None = None,
    ) -> None:
        """Note the state of one window.

        Args:
            name: as the server knows it (``five_hour``, ``seven_day``); without one it is skipped.
            status: ``allowed``, ``rejected`` or a word of the harness's own; as above.
            utilization: 0 to 1.
            resets_at_s: seconds since 1970.
            is_using_overage: whether calls beyond the limit are paid for one by one.
            surpassed_threshold: the share of the limit that the harness warned of.
        """
        if not name or not status:
            return
        resets_at = moment(resets_at_s)
        self.windows[name] = RateLimitWindow(
            status=status,
            utilization=utilization,
            resets_at_s=int(resets_at.timestamp()) if resets_at else None,
            is_using_overage=is_using_overage,
            surpassed_threshold=surpassed_threshold,
            last_seen_at=wire_time(self._clock.now()),
        )

    def note_end(self, ends_s: Iterable[float | None]) -> None:
        """Note that a limit is hit: it ends when the last window that rejects does."""
        known = [end for end in map(moment, ends_s) if end is not None]
        if known:
            self.resets_at = max(known)


def moment(seconds: float | None) -> datetime | None:
    """Return a time given as seconds since 1970; ``None`` if it is none, or 0."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, ValueError, OSError):
        return None
