"""Why a session failed, as one readable line with its category."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Final

from agent_swarm_worker.guards.error_classes import ErrorClass

MAX_REASON_CHARS: Final = 500

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

    category: str
    reason: str
    """One readable line."""


def failure(category: str, said: str = "") -> Failure:
    """Return a failure in which the category's own words come first."""
    label = LABELS.get(category, "Session error")
    return Failure(category, one_line(f"{label}: {said}" if said else label))


def one_line(reason: str) -> str:
    """Fold a text into one line that is not too long."""
    line = " ".join(reason.split())
    return line if len(line) <= MAX_REASON_CHARS else line[: MAX_REASON_CHARS - 1] + "…"


def how_it_ended(exit_code: int) -> str:
    """Say how a process ended, from its exit code as a shell has it."""
    try:
        name = signal.Signals(exit_code - 128).name if exit_code > 128 else ""
    except ValueError:
        name = ""
    return f"was ended by {name}" if name else f"exited with code {exit_code}"
