"""How a session went: what the CLI said of its turns, and how its process ended.

Success takes a turn that was completed. A process that merely exits with 0 has done nothing.

What the CLI's errors mean: its own word for them first, then the HTTP status, then the text.
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
    from agent_swarm_worker.contract import ProviderResult
    from agent_swarm_worker.providers.codex.state import TranslationState
    from agent_swarm_worker.providers.kit.launch import Ending
    from agent_swarm_worker.providers.kit.outcome import Failure


def conclude(state: TranslationState, ending: Ending) -> ProviderResult:
    """Say how the session went, from its output and the end of its process."""
    failed = _judge(state, ending)
    cost = state.cost(is_error=failed is not None)
    reset_at = None
    if failed is not None:
        now = state.clock.now()
        said = parse_reset_time(failed.reason, now)
        reset_at = reset_of(failed.category, "", now, said, state.limits.resets_at)
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


def _judge(state: TranslationState, ending: Ending) -> Failure | None:
    if state.turn == "completed" and state.is_final:
        return None
    if state.fatal is not None:
        return failure(state.fatal.category or "turn_failed", state.fatal.message)
    if ending.aborted is None and state.turn == "interrupted":
        return failure("interrupted")
    return aborted(ending) or unfinished(
        "Codex",
        ending,
        lambda said: classify_error(said, also=SPEC.error_texts).value,
        last_error=state.last_error,
        waiting_for=state.unanswered,
    )


NETWORK = ErrorClass.NETWORK.value
_classified = partial(classify_error, also=SPEC.error_texts)
STALE_SESSION = ErrorClass.STALE_SESSION.value

_BY_WORD = {
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
_GONE = re.compile(r"no rollout found|thread/resume failed|invalid session id", re.IGNORECASE)


def read_error(native: dict[str, Any]) -> Error:
    """Turn an error of either transport into a normalized one."""
    said = text(native.get("message"))
    details = text(native.get("additionalDetails"))
    message = f"{said} ({details})" if said and details else said or details or "unknown error"
    return Error(message, _category(message, native.get("codexErrorInfo")))


def is_retry_notice(message: str) -> bool:
    """True if the CLI only says that it tries again."""
    return _RETRYING.match(message) is not None


def is_gone(message: str) -> bool:
    """True if the CLI says that the session to resume does not exist."""
    return _GONE.search(message) is not None


def _category(message: str, info: Any) -> str:
    if isinstance(info, str):
        known = _BY_WORD.get(info)
        if known is ErrorClass.USAGE_LIMIT:
            # The CLI says so of every quota; a text about credit is more exact.
            told = _classified(message)
            return (told if told is ErrorClass.BILLING_ERROR else known).value
        if known is not None:
            return _classified(message, category=known.value).value
    for word, about in mapping(info).items():
        status = count(mapping(about).get("httpStatusCode"))
        if status is not None:
            return _classified(message, status=status).value
        if word in _CONNECTION:
            return NETWORK
    return _by_text(message)


def _by_text(message: str) -> str:
    told = _classified(message)
    if told is not ErrorClass.UNKNOWN:
        return told.value
    if _DISCONNECTED.search(message):
        return NETWORK
    if _NO_KEY.search(message):
        return ErrorClass.AUTHENTICATION_FAILED.value
    return "turn_failed"
