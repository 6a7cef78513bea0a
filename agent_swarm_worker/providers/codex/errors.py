"""What the CLI's errors mean: its own word for them first, then the HTTP status, then the text."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from agent_swarm_worker.contract import Error
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.providers.codex.spec import SPEC
from agent_swarm_worker.providers.kit.native import count, mapping, text

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
