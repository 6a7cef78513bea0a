"""What kind of failure an error tells of.

One function, one closed list of classes. A harness's own category and the HTTP status say the
broad kind; the text can only make it finer, or says it alone where there is nothing else.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from agent_swarm_worker.guards.aws_errors import AwsClass, classify_aws
from agent_swarm_worker.guards.error_texts import TEXTS, TOO_LONG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ErrorClass(StrEnum):
    """Every kind of failure the worker tells apart. The values are categories on the wire."""

    RATE_LIMIT = "rate_limit"
    """Too many requests or tokens a minute; over soon."""
    USAGE_LIMIT = "usage_limit"
    """A plan's window is used up; over at its reset."""
    BILLING_ERROR = "billing_error"
    """No credit, no quota, an unpaid bill; over when somebody pays."""
    AUTHENTICATION_FAILED = "authentication_failed"
    PERMISSION_DENIED = "permission_denied"
    """The credential is good, but not for this."""
    CONTEXT_OVERFLOW = "context_overflow"
    """The prompt is too long for the model."""
    MAX_OUTPUT_TOKENS = "max_output_tokens"
    """The answer is too long for the model."""
    MODEL_NOT_FOUND = "model_not_found"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    NETWORK = "network"
    """No answer: refused, reset, timed out, no such host."""
    STALE_SESSION = "stale_session"
    """The session to resume does not exist."""
    INVALID_REQUEST = "invalid_request"
    UNKNOWN = "unknown"


EXCERPT_CHARS: Final = 8 * 1024
"""How much of a text is looked at; an error comes first and what it was about after it."""

_BY_CATEGORY: Final = {
    "account_on_hold": ErrorClass.BILLING_ERROR,
    "api_error": ErrorClass.SERVER_ERROR,
    "authentication": ErrorClass.AUTHENTICATION_FAILED,
    "authentication_error": ErrorClass.AUTHENTICATION_FAILED,
    "cloud_credential_error": ErrorClass.AUTHENTICATION_FAILED,
    "context_length": ErrorClass.CONTEXT_OVERFLOW,
    "context_length_exceeded": ErrorClass.CONTEXT_OVERFLOW,
    "insufficient_quota": ErrorClass.BILLING_ERROR,
    "invalid_request_error": ErrorClass.INVALID_REQUEST,
    "oauth_org_not_allowed": ErrorClass.PERMISSION_DENIED,
    "overloaded_error": ErrorClass.OVERLOADED,
    "permission_error": ErrorClass.PERMISSION_DENIED,
    "prompt_too_long": ErrorClass.CONTEXT_OVERFLOW,
    "rate_limit_error": ErrorClass.RATE_LIMIT,
    "rate_limit_exceeded": ErrorClass.RATE_LIMIT,
    "usage_limit_reached": ErrorClass.USAGE_LIMIT,
    "verification_required": ErrorClass.PERMISSION_DENIED,
}
"""Words of harnesses and services that differ from ours."""

_BY_STATUS: Final = {
    401: ErrorClass.AUTHENTICATION_FAILED,
    402: ErrorClass.BILLING_ERROR,
    403: ErrorClass.PERMISSION_DENIED,
    408: ErrorClass.NETWORK,
    413: ErrorClass.CONTEXT_OVERFLOW,
    429: ErrorClass.RATE_LIMIT,
    529: ErrorClass.OVERLOADED,
}

_FINER: Final = {
    ErrorClass.RATE_LIMIT: {ErrorClass.USAGE_LIMIT, ErrorClass.BILLING_ERROR},
    ErrorClass.AUTHENTICATION_FAILED: {ErrorClass.PERMISSION_DENIED, ErrorClass.BILLING_ERROR},
    ErrorClass.PERMISSION_DENIED: {
        ErrorClass.AUTHENTICATION_FAILED,
        ErrorClass.BILLING_ERROR,
        ErrorClass.MODEL_NOT_FOUND,
        ErrorClass.USAGE_LIMIT,
    },
    ErrorClass.SERVER_ERROR: {ErrorClass.OVERLOADED},
    ErrorClass.INVALID_REQUEST: {
        ErrorClass.AUTHENTICATION_FAILED,
        ErrorClass.BILLING_ERROR,
        ErrorClass.CONTEXT_OVERFLOW,
        ErrorClass.MAX_OUTPUT_TOKENS,
        ErrorClass.MODEL_NOT_FOUND,
        ErrorClass.STALE_SESSION,
        ErrorClass.USAGE_LIMIT,
    },
}
"""What a text may make of the kind that the harness or the status gave."""

_BY_AWS: Final = {
    AwsClass.AUTH: ErrorClass.AUTHENTICATION_FAILED,
    AwsClass.THROTTLE: ErrorClass.RATE_LIMIT,
    AwsClass.ACCESS: ErrorClass.PERMISSION_DENIED,
    AwsClass.MODEL: ErrorClass.MODEL_NOT_FOUND,
}


def classify_error(
    text: str,
    *,
    category: str | None = None,
    status: int | None = None,
    also: Mapping[str, Sequence[str]] | None = None,
) -> ErrorClass:
    """Say what kind of failure an error tells of.

    Args:
        text: the error as the harness or the service worded it.
        category: the harness's own word for it, if it has one.
        status: the HTTP status behind it, if known.
        also: regular expressions of the harness's own texts, by class; they are tried first.
    """
    given = _by_category(category) or _by_status(status)
    excerpt = text[:EXCERPT_CHARS]
    told = _by_own_text(excerpt, also) if also else None
    told = told or _by_text(excerpt)
    if given is None:
        return told
    return told if told in _FINER.get(given, ()) else given


def _by_category(category: str | None) -> ErrorClass | None:
    name = (category or "").lower()
    try:
        kind = _BY_CATEGORY.get(name) or ErrorClass(name)
    except ValueError:
        return None
    return None if kind is ErrorClass.UNKNOWN else kind


def _by_status(status: int | None) -> ErrorClass | None:
    if status is None or status < 400:
        return None
    other = ErrorClass.SERVER_ERROR if status >= 500 else ErrorClass.INVALID_REQUEST
    return _BY_STATUS.get(status, other)


def _by_own_text(text: str, texts: Mapping[str, Sequence[str]]) -> ErrorClass | None:
    plain = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for kind, patterns in texts.items():
        if any(re.search(pattern, plain, re.IGNORECASE | re.MULTILINE) for pattern in patterns):
            return _by_category(kind)
    return None


def _by_text(text: str) -> ErrorClass:
    plain = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if TOO_LONG.search(plain):  # AWS reports it as a failed validation
        return ErrorClass.CONTEXT_OVERFLOW
    aws = classify_aws(plain)
    if aws and aws is not AwsClass.MODEL:  # that one also stands for a request of any wrong form
        return _BY_AWS[aws]
    told = next((kind for kind, words in TEXTS if words.search(plain)), None)
    if told:
        return ErrorClass(told)
    return _BY_AWS[aws] if aws else ErrorClass.UNKNOWN
