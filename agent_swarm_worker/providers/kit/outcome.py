"""Build the `ProviderResult` of a session: why it failed, and the limits it ran into.

A harness classifies its own final event; `unfinished` classifies a process that ended without one.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from agent_swarm_worker.clock import Clock, SystemClock, wire_time
from agent_swarm_worker.contract import ContextUsage, ProviderResult, RateLimitWindow
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.guards.rate_limits import LIMITS, clamp_reset, parse_reset_time
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from agent_swarm_worker.contract import CostData, Ending, Error, ProviderSessionConfig

KILLED_EXIT: Final = 137
OUT_OF_MEMORY: Final = "out_of_memory"
ABORTED_EXIT: Final = 130
"""Exit code of an aborted session whose process has none; a shell's for SIGINT."""
MAX_REASON_CHARS: Final = 500
REJECTED: Final = "rejected"
"""The status of a window whose limit is hit."""
TAIL_CHARS: Final = 250
"""The part of standard error that a reason quotes."""

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
    """``None`` if the class of the error is unknown."""
    reason: str
    """One readable line."""


def failure(category: str, message: str = "", labels: Mapping[str, str] = LABELS) -> Failure:
    """Return a failure whose reason is the category's label, then the harness's message."""
    label = labels.get(category, "Session error")
    return Failure(
        category, one_line(f"{label}: {message}" if message else label, MAX_REASON_CHARS)
    )


def aborted(ending: Ending) -> Failure | None:
    """Return the failure of a session that was aborted; ``None`` if it was not."""
    if ending.aborted is None:
        return None
    return Failure("aborted", one_line(f"Aborted: {ending.aborted}", MAX_REASON_CHARS))


def as_aborted(result: ProviderResult, reason: str) -> ProviderResult:
    """Return the result of a session that was aborted before its harness was finished.

    Output, cost and limits stay as the harness reported them; the outcome does not.
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
    """Return the failure of a process that ended without a final event.

    Args:
        name: of the harness, as it begins a sentence.
        ending: of the process.
        classify: returns the category of a text, or ``unknown``.
        last_error: the last one that it did not recover from.
        waiting_for: the request that it left unanswered.
    """
    how = f"{name} {exit_text(ending)} before it was finished"
    how += f", without an answer to {waiting_for}" if waiting_for else ""
    if ending.out_of_memory:
        return Failure(OUT_OF_MEMORY, how)
    if last_error is not None:
        reason = one_line(f"{how}; before that: {last_error.message}", MAX_REASON_CHARS)
        return Failure(last_error.category or "crashed", reason)
    if ending.truncated:
        return Failure("truncated", f"{how}; its output was cut off")
    if ending.closed_output:
        return Failure("crashed", how)
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
    """Return the result of a session; `failed` is ``None`` if it succeeded."""
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
    category: str | None, reason: str, now: datetime, *moments: datetime | None
) -> str | None:
    """Return when the limit ends that failed a session, as a time on the wire; else ``None``.

    It is the first of `moments` that is known, else a time in the failure's reason.
    """
    if category not in LIMITS:
        return None
    known = (moment for moment in moments if moment is not None)
    moment = next(known, None) or parse_reset_time(reason, now)
    return wire_time(clamp_reset(moment, now)) if moment else None


def exit_text(ending: Ending) -> str:
    """Describe the end of a process by its exit code, 128 + n for signal n."""
    code = ending.exit_code
    if ending.closed_output:
        return "closed its output and went on, and was ended"
    if code == KILLED_EXIT:
        why = " for lack of memory" if ending.out_of_memory else ""
        return f"was killed{why} (SIGKILL, exit code {code})"
    name = _signal_name(code)
    return f"was ended by {name}" if name else f"exited with code {code}"


def killed_category(ending: Ending) -> str | None:
    """Return the category of a process that a signal ended; ``None`` if none did."""
    if ending.out_of_memory:
        return OUT_OF_MEMORY
    return "killed" if _signal_name(ending.exit_code) else None


def _signal_name(exit_code: int) -> str:
    try:
        return signal.Signals(exit_code - 128).name if exit_code > 128 else ""
    except ValueError:
        return ""


class LimitWindows:
    """Holds the latest state of every rate limit window that a harness reports."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.windows: dict[str, RateLimitWindow] = {}
        self.resets_at: datetime | None = None
        """The end of the limit that was hit last."""

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
        """Record the state of one window; without a name or a status it is skipped.

        Args:
            name: as the server knows it (``five_hour``, ``seven_day``).
            status: ``allowed``, ``rejected`` or the harness's own.
            utilization: 0 to 1.
            resets_at_s: seconds since 1970.
            is_using_overage: whether calls beyond the limit are paid for one by one.
            surpassed_threshold: the share of the limit at which the harness warns.
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
        """Record that a limit is hit; it ends with the last of these times (s since 1970)."""
        known = [end for end in map(moment, ends_s) if end is not None]
        if known:
            self.resets_at = max(known)


@dataclass(slots=True, kw_only=True)
class TranslationState:
    """What the translation of every harness keeps of a session; each adds its own."""

    config: ProviderSessionConfig
    clock: Clock = field(default_factory=SystemClock)
    limits: LimitWindows = field(init=False)
    session_id: str | None = None
    model: str = ""
    window: int | None = None
    """Context window of the main model in tokens."""
    last_text: str = ""
    """The main agent's last message."""
    last_error: Error | None = None
    """The last error, retried ones included; ``None`` once the harness has recovered from it."""

    def __post_init__(self) -> None:
        self.limits = LimitWindows(self.clock)

    def context_usage(self, used: int, answer: int | None, formula: str) -> ContextUsage:
        """Return the event for `used` tokens of context, of which the last answer has `answer`."""
        percent = min(100.0, used / self.window * 100) if self.window else None
        return ContextUsage(used, self.window, percent, answer, formula)


def moment(seconds: float | None) -> datetime | None:
    """Convert seconds since 1970 to a time; ``None`` if that is impossible, or for 0."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, ValueError, OSError):
        return None
