"""Why a session of pi ends badly: one category, one readable line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.guards.rate_limits import LIMITS, clamp_reset, parse_reset_time

if TYPE_CHECKING:
    from datetime import datetime

MAX_REASON_CHARS = 500

_LABELS: dict[str, str] = {
    ErrorClass.AUTHENTICATION_FAILED: "Authentication failed",
    ErrorClass.BILLING_ERROR: "Billing error",
    ErrorClass.CONTEXT_OVERFLOW: "The conversation is too long for the model",
    ErrorClass.INVALID_REQUEST: "The model API refused the request",
    ErrorClass.MAX_OUTPUT_TOKENS: "The answer is too long for the model",
    ErrorClass.MODEL_NOT_FOUND: "There is no such model",
    ErrorClass.NETWORK: "The model API cannot be reached",
    ErrorClass.OVERLOADED: "The model API is overloaded",
    ErrorClass.PERMISSION_DENIED: "Permission denied",
    ErrorClass.RATE_LIMIT: "Rate limit hit",
    ErrorClass.SERVER_ERROR: "The model API failed",
    ErrorClass.USAGE_LIMIT: "Usage limit reached",
}
_MARKUP = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]{1,500}>", re.DOTALL)


class SessionFailed(ProviderError):
    """The session cannot go on."""

    def __init__(self, kind: str, reason: str, *, reset_at: str | None = None) -> None:
        self.kind, self.reason, self.reset_at = kind, reason, reset_at
        super().__init__(reason)


def model_failure(
    text: str,
    *,
    now: datetime,
    status: int | None = None,
    code: str | None = None,
    retry_after_s: float | None = None,
) -> SessionFailed:
    """Say what a failed model request means.

    Args:
        text: the error as the service worded it.
        now: the present moment.
        status: its HTTP status, if it had one.
        code: its own word for the kind of error, if it has one.
        retry_after_s: how long the service asks to wait.
    """
    plain = " ".join(_MARKUP.sub(" ", text).split())
    kind = classify_error(text, category=code, status=status)
    label = _LABELS.get(kind, "The model request failed")
    where = f" (HTTP {status})" if status else ""
    reason = f"{label}{where}: {plain}" if plain else f"{label}{where}"
    reset = None
    if kind in LIMITS:
        reset = parse_reset_time(f"{text}\nretry-after: {retry_after_s or 0:.0f}", now)
    return SessionFailed(
        kind.value,
        shortened(reason),
        reset_at=wire_time(clamp_reset(reset, now)) if reset else None,
    )


def shortened(text: str) -> str:
    """One line of bearable length."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_REASON_CHARS else line[: MAX_REASON_CHARS - 1] + "…"
