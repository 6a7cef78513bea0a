"""Classify a failure: one `ErrorClass` for a harness's category, an HTTP status and an error text.

The category and the status give the broad class; the text can refine it, or gives it alone if
there is neither. The patterns below match text that services and harnesses print when they fail.
Every pattern requires context: a bare 429 is as often a line count as a status, and "rate limit" is
in many a file name. In a list each line is one alternative, and ``<429>`` means that number as a
status. The first list that matches decides.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from agent_swarm_worker.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ErrorClass(StrEnum):
    """A kind of failure. The values are categories on the wire."""

    RATE_LIMIT = "rate_limit"
    """Too many requests or tokens a minute; over soon."""
    USAGE_LIMIT = "usage_limit"
    """A plan's window is used up; over at its reset."""
    BILLING_ERROR = "billing_error"
    """No credit, no quota, an unpaid bill; over when somebody pays."""
    AUTHENTICATION_FAILED = "authentication_failed"
    PERMISSION_DENIED = "permission_denied"
    """The credential is valid, but not for this request."""
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


MAX_CLASSIFIED_CHARS: Final = 8 * 1024
"""The classified part of a text: the error comes first, and its details follow."""


def classify_error(
    text: str,
    *,
    category: str | None = None,
    status: int | None = None,
    also: Mapping[str, Sequence[str]] | None = None,
) -> ErrorClass:
    """Return the class of a failure, by its text, the harness's own category and the HTTP status.

    `also` has the regular expressions of the harness's own texts, by class; they are tried first.
    """
    given = _by_category(category) or _by_status(status)
    shown = plain(text[:MAX_CLASSIFIED_CHARS]).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    by_text = (_by_patterns(shown, also) if also else None) or _by_text(shown)
    # Without a status there was no answer; some harnesses call that a failure of the server.
    had_no_answer = given is ErrorClass.SERVER_ERROR and not status
    if given is None or (had_no_answer and by_text is ErrorClass.NETWORK):
        return by_text
    return by_text if by_text in _REFINEMENTS.get(given, ()) else given


def classify_aws(text: str) -> ErrorClass | None:
    """Return the class of an AWS failure; ``None`` if the text has none. The first rule wins."""
    return next((kind for kind, pattern in _AWS_RULES if pattern.search(text)), None)


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


def _by_patterns(text: str, by_class: Mapping[str, Sequence[str]]) -> ErrorClass | None:
    for kind, patterns in by_class.items():
        if any(re.search(pattern, text, re.IGNORECASE | re.MULTILINE) for pattern in patterns):
            return _by_category(kind)
    return None


def _by_text(text: str) -> ErrorClass:
    if TOO_LONG.search(text):  # AWS reports it as a failed validation
        return ErrorClass.CONTEXT_OVERFLOW
    aws = classify_aws(text)
    # The exceptions of the last AWS rule also stand for a request of any wrong form.
    if aws and aws is not ErrorClass.MODEL_NOT_FOUND:
        return aws
    found = next((kind for kind, pattern in TEXTS if pattern.search(text)), None)
    return found or aws or ErrorClass.UNKNOWN


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
"""Categories of harnesses and services that differ from ours."""

_BY_STATUS: Final = {
    401: ErrorClass.AUTHENTICATION_FAILED,
    402: ErrorClass.BILLING_ERROR,
    403: ErrorClass.PERMISSION_DENIED,
    408: ErrorClass.NETWORK,
    413: ErrorClass.CONTEXT_OVERFLOW,
    429: ErrorClass.RATE_LIMIT,
    529: ErrorClass.OVERLOADED,
}

_ACCOUNT: Final = {
    ErrorClass.AUTHENTICATION_FAILED,
    ErrorClass.BILLING_ERROR,
    ErrorClass.MODEL_NOT_FOUND,
    ErrorClass.USAGE_LIMIT,
}
_REFINEMENTS: Final = {
    ErrorClass.RATE_LIMIT: {ErrorClass.USAGE_LIMIT, ErrorClass.BILLING_ERROR},
    ErrorClass.AUTHENTICATION_FAILED: {ErrorClass.PERMISSION_DENIED, ErrorClass.BILLING_ERROR},
    ErrorClass.PERMISSION_DENIED: _ACCOUNT,
    ErrorClass.SERVER_ERROR: {ErrorClass.OVERLOADED},
    ErrorClass.INVALID_REQUEST: {
        *_ACCOUNT,
        ErrorClass.CONTEXT_OVERFLOW,
        ErrorClass.MAX_OUTPUT_TOKENS,
        ErrorClass.STALE_SESSION,
    },
}
"""The classes by which a text may refine the class of the category or the status."""

_AWS_RULES: Final = (
    (
        ErrorClass.AUTHENTICATION_FAILED,
        re.compile(
            r"\bExpiredToken(?:Exception)?\b|CredentialsProviderError"
            r"|Unable to locate credentials|InvalidSignatureException|UnrecognizedClientException"
            r"|(?i:security token\b[^\n]{0,80}\bexpired|\bexpired\b[^\n]{0,80}\bsecurity token)"
        ),
    ),
    (
        ErrorClass.RATE_LIMIT,
        re.compile(
            r"ThrottlingException|TooManyRequestsException|ServiceQuotaExceededException"
            r"|\bRate exceeded\b"
        ),
    ),
    (
        ErrorClass.PERMISSION_DENIED,
        re.compile(r"AccessDeniedException|(?i:not authorized to perform)"),
    ),
    (
        ErrorClass.MODEL_NOT_FOUND,
        re.compile(
            r"\b(?:ValidationException|ResourceNotFoundException|ModelTimeoutException"
            r"|ModelNotReadyException)\b"
        ),
    ),
)

_STATUS: Final = (
    # HTTP 429, status code: 429, API Error: 429, error 429
    r"\b(?:http(?:/[\d.]{1,3})?|status(?: ?code)?|api error|error(?: code)?)[\s:=\"']{0,3}"
    r"\(?%s\b(?! lines)"
    # Request rejected (429); 429: {"error"…; 429 {"error"…
    r"|\(%s\)|^\W{0,3}%s\s?[:{]"
)


def _alternatives(lines: str) -> re.Pattern[str]:
    pattern = "|".join(line.strip() for line in lines.splitlines() if line.strip())
    pattern = re.sub(r"<(\w+)>", lambda hit: _STATUS.replace("%s", hit[1]), pattern)
    return re.compile(pattern.replace("5xx", r"5\d\d"), re.IGNORECASE | re.MULTILINE)


TOO_LONG: Final = _alternatives(
    r"""
    context[ _-]?(?:length|window)[ _-]?(?:is )?(?:too long|exceed(?:s|ed)|overflow)
    exceeds? (?:the |this model's )?(?:maximum )?context (?:length|window)
    maximum context length
    (?:larger than|too (?:long|large) for) (?:the |this )?model(?:'s)? context
    context is too large
    prompt is too long
    prompt_too_long
    input (?:is )?too long
    too many (?:input |prompt )tokens
    exceeds? the maximum number of tokens
    input token count\b.{0,40}\bexceeds
    request[ _]too[ _]large
    <413>
    """
)

TEXTS: Final = tuple(
    (ErrorClass[heading], _alternatives(lines))
    for heading, lines in re.findall(
        r"^    ([A-Z_]+)\n((?:      .*\n)+)",
        r"""
    MAX_OUTPUT_TOKENS
      exceeded the \d{1,9} output token maximum
      output token limit hit
      max_output_tokens
    USAGE_LIMIT
      hit your\b[\w\s-]{0,40}\blimit\b
      (?<!cpu )(?<!disk )(?<!memory )\busage[ _-]?limit[ _-]?(?:reached|exceeded|hit)
      \b(?:reached|exceeded) your (?:[\w-]{1,20} )?usage limit
      \[usage-limit\]
      \b(?:5-hour|daily|weekly|monthly|session|opus|sonnet) limit (?:reached|exceeded|hit)
      out of extra usage
      upgrade to pro\b
    RATE_LIMIT
      quota\b.{0,80}\bper (?:second|minute|hour|day)
      resource has been exhausted
      \bRESOURCE_EXHAUSTED\b
    BILLING_ERROR
      credit balance is too low
      insufficient[ _](?:quota|credits?|funds|balance)
      exceeded your current quota
      out of (?:quota|credits)
      quota (?:has been )?exceeded
      billing[ _]error
      billing hard limit
      payment (?:is )?(?:required|failed|declined)
      <402>
    RATE_LIMIT
      (?<![\w/.-])rate[ _-]?limits?[ _-](?:reached|exceeded|hit|error|in effect)
      (?<![\w/.-])rate[ _-]limited\b
      \bRateLimit(?:Error|Exceeded)
      \[rate-limit\]
      \b(?:exceed(?:ed|s)?|hit|reached|over)(?: [\w']{1,20}){1,4} rate[ _-]?limit\b
      ^[^\w\n]*(?:api )?(?:error:? ?)?rate[ _-]?limit\W*$
      ^(?!.*\b(?:expected|assert\w*)\b).*\btoo many requests
      <429>
    AUTHENTICATION_FAILED
      \b(?:invalid|incorrect|missing|expired|no)[ _](?:x-)?api[ _-]key
      authentication[ _](?:failed|error|required)
      failed to authenticate
      could not resolve authentication
      not logged in
      please run /login
      login required
      \b(?:oauth|access|refresh|session) token (?:has |is |was )?(?:expired|revoked|invalid)
      invalid ['"]?(?:refresh_token|bearer token)
      failed to refresh token
      \b401 unauthorized
      ^[^\w\n]*(?:error: )?unauthorized\b
      \[auth-error\]
      <401>
    MODEL_NOT_FOUND
      model_not_found
      \b(?:unknown|invalid|unsupported|no such) model\b
      \bmodel:? (?:[\w"'`./:@-]{1,120} )?(?:was )?(?:not found|does not exist)
      \bmodel:? [\w"'`./:@-]{1,120} is not (?:supported|available)
      (?:does not|doesn't|do not) have access to (?:the |this )?model
    PERMISSION_DENIED
      permission_error
      \b403 forbidden
      ^[^\w\n]*(?:error: )?forbidden\b
      <403>
    OVERLOADED
      overloaded_error
      \b(?:server|service|model|api)s? (?:is |are )?(?:currently |temporarily )?overloaded
      ^[^\w\n]*(?:error:? )?overloaded\W*$
      "overloaded"
      experiencing high demand
      model is at capacity
      \b529 overloaded
      <529>
    SERVER_ERROR
      internal server error
      bad gateway
      gateway time-?out
      service (?:is )?(?:temporarily )?unavailable
      server had an error
      (?<!\w)server_error\b
      "api_error"
      transient api error
      <5xx>
    STALE_SESSION
      ^[^\w\n]*(?:error: )?session (?:[\w-]{8,64} )?not found
    NETWORK
      \bE(?:CONNREFUSED|CONNRESET|CONNABORTED|NOTFOUND|TIMEDOUT|HOSTUNREACH|NETUNREACH)\b
      \bEAI_AGAIN\b
      fetch failed
      socket hang up
      getaddrinfo
      network (?:error|is unreachable)
      connection (?:error|failed|refused|reset|aborted|closed|timed out)
      transport_error
      unable to connect
      could not (?:connect|resolve host)
      error sending request
      (?:request|read) timed out
      name or service not known
      \b(?:tls|ssl)[\w ]{0,20}(?:handshake|error)
      certificate (?:verify failed|has expired)
    INVALID_REQUEST
      (?<!\w)invalid_request(?:_error)?\b
      BadRequestError
      \b400 bad request
      <400>
        """,
        re.MULTILINE,
    )
)
"""The class of each list, in the order in which the lists are tried. Rates precede billing: a quota
for a minute or a day is a rate, whatever it is called."""
