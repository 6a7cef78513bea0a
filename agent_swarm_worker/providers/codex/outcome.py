"""Decide the outcome of a codex session; classify the CLI's errors.

Success takes a completed turn, whatever the exit code. An error is classified by the CLI's own code
for it, then by the HTTP status, then by its text.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import Error
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.guards.rate_limits import parse_reset_time
from agent_swarm_worker.providers.codex.spec import SPEC
from agent_swarm_worker.providers.kit.native import count, mapping, text
from agent_swarm_worker.providers.kit.outcome import (
    aborted,
    concluded,
    failure,
    reset_of,
    unfinished,
)

if TYPE_CHECKING:
    from agent_swarm_worker.contract import Ending, ProviderResult
    from agent_swarm_worker.providers.codex.state import TranslationState
    from agent_swarm_worker.providers.kit.outcome import Failure


NETWORK = ErrorClass.NETWORK.value
_classified = partial(classify_error, also=SPEC.error_texts)
STALE_SESSION = ErrorClass.STALE_SESSION.value

_BY_CODE = {
    "badRequest": ErrorClass.INVALID_REQUEST,
    "contextWindowExceeded": ErrorClass.CONTEXT_OVERFLOW,
    "cyberPolicy": ErrorClass.PERMISSION_DENIED,
    "flexUnavailable": ErrorClass.OVERLOADED,
    "internalServerError": ErrorClass.SERVER_ERROR,
    "misalignmentPolicyViolation": ErrorClass.PERMISSION_DENIED,
    "modelNotFound": ErrorClass.MODEL_NOT_FOUND,
    "policyCapacityUnavailable": ErrorClass.OVERLOADED,
    "rateLimitExceeded": ErrorClass.RATE_LIMIT,
    "serverOverloaded": ErrorClass.OVERLOADED,
    "unauthorized": ErrorClass.AUTHENTICATION_FAILED,
    "usageLimitExceeded": ErrorClass.USAGE_LIMIT,
}
_CONNECTION = ("httpConnectionFailed", "responseStreamConnectionFailed")
_DISCONNECTED = re.compile(
    r"stream disconnected|waiting for network|connection failed", re.IGNORECASE
)
_NO_KEY = re.compile(r"missing environment variable", re.IGNORECASE)
_RETRYING = re.compile(r"^\s*Reconnecting\b")
_STALE = re.compile(r"no rollout found|thread/resume failed|invalid session id", re.IGNORECASE)


def conclude(state: TranslationState, ending: Ending) -> ProviderResult:
    """Return the result of the session, from its output and the end of its process."""
    failed = _failure(state, ending)
    cost = state.cost(is_error=failed is not None)
    reset_at = None
    if failed is not None:
        now = state.clock.now()
        in_reason = parse_reset_time(failed.reason, now)
        reset_at = reset_of(failed.category, "", now, in_reason, state.limits.resets_at)
    return concluded(
        failed,
        # The app server ends with 0 whatever happened.
        exit_code=0 if failed is None else ending.exit_code or 1,
        session_id=state.thread_id,
        cost=replace(cost, duration_ms=ending.duration_ms) if cost else None,
        output=state.last_text or None,
        reset_at=reset_at,
        windows=state.limits.windows,
        applied_effort=state.plan.applied_effort,
    )


def _failure(state: TranslationState, ending: Ending) -> Failure | None:
    if state.turn == "completed" and state.is_final:
        return None
    if state.fatal is not None:
        return failure(state.fatal.category or "turn_failed", state.fatal.message)
    if ending.aborted is None and state.turn == "interrupted":
        return failure("interrupted")
    return aborted(ending) or unfinished(
        "Codex",
        ending,
        lambda message: _classified(message).value,
        last_error=state.last_error,
        waiting_for=state.unanswered,
    )


def read_error(native: dict[str, Any]) -> Error:
    """Turn an error of either transport into a normalized one."""
    message = text(native.get("message"))
    details = text(native.get("additionalDetails"))
    if message and details:
        message = f"{message} ({details})"
    message = message or details or "unknown error"
    return Error(message, _category(message, native.get("codexErrorInfo")))


def is_retry_notice(message: str) -> bool:
    """True if the CLI only reports a retry."""
    return _RETRYING.match(message) is not None


def is_stale_session(message: str) -> bool:
    """True if the CLI reports that the session to resume does not exist."""
    return _STALE.search(message) is not None


def _category(message: str, info: Any) -> str:
    if isinstance(info, str):
        known = _BY_CODE.get(info)
        if known is ErrorClass.USAGE_LIMIT:
            # The code of every quota; a text about credit is more exact.
            by_text = _classified(message)
            return (by_text if by_text is ErrorClass.BILLING_ERROR else known).value
        if known is not None:
            return _classified(message, category=known.value).value
    for code, details in mapping(info).items():
        status = count(mapping(details).get("httpStatusCode"))
        if status is not None:
            return _classified(message, status=status).value
        if code in _CONNECTION:
            return NETWORK
    return _by_text(message)


def _by_text(message: str) -> str:
    by_text = _classified(message)
    if by_text is not ErrorClass.UNKNOWN:
        return by_text.value
    if _DISCONNECTED.search(message):
        return NETWORK
    if _NO_KEY.search(message):
        return ErrorClass.AUTHENTICATION_FAILED.value
    return "turn_failed"
