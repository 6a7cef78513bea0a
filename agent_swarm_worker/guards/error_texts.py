"""What services and harnesses print when they fail, as patterns.

Every pattern wants its words in context: a bare 429 is as often a line count as a status, and
"rate limit" stands in many a file name. In the lists below each line is one alternative, and
``<429>`` means that number where a status stands. The first list that matches decides.
"""

from __future__ import annotations

import re
from typing import Final

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

TEXTS: Final = (
    (
        "max_output_tokens",
        _alternatives(
            r"""
            exceeded the \d{1,9} output token maximum
            output token limit hit
            max_output_tokens
            """
        ),
    ),
    (
        "usage_limit",
        _alternatives(
            r"""
            hit your\b[\w\s-]{0,40}\blimit\b
            (?<!cpu )(?<!disk )(?<!memory )\busage[ _-]?limit[ _-]?(?:reached|exceeded|hit)
            \b(?:reached|exceeded) your (?:[\w-]{1,20} )?usage limit
            \[usage-limit\]
            \b(?:5-hour|daily|weekly|monthly|session|opus|sonnet) limit (?:reached|exceeded|hit)
            out of extra usage
            upgrade to pro\b
            """
        ),
    ),
    (
        # Before billing: a quota for a minute or a day is a rate, whatever it is called.
        "rate_limit",
        _alternatives(
            r"""
            quota\b.{0,80}\bper (?:second|minute|hour|day)
            resource has been exhausted
            \bRESOURCE_EXHAUSTED\b
            """
        ),
    ),
    (
        "billing_error",
        _alternatives(
            r"""
            credit balance is too low
            insufficient[ _](?:quota|credits?|funds|balance)
            exceeded your current quota
            out of (?:quota|credits)
            quota (?:has been )?exceeded
            billing[ _]error
            billing hard limit
            payment (?:is )?(?:required|failed|declined)
            <402>
            """
        ),
    ),
    (
        "rate_limit",
        _alternatives(
            r"""
            (?<![\w/.-])rate[ _-]?limits?[ _-](?:reached|exceeded|hit|error|in effect)
            (?<![\w/.-])rate[ _-]limited\b
            \bRateLimit(?:Error|Exceeded)
            \[rate-limit\]
            \b(?:exceed(?:ed|s)?|hit|reached|over)(?: [\w']{1,20}){1,4} rate[ _-]?limit\b
            ^[^\w\n]*(?:api )?(?:error:? ?)?rate[ _-]?limit\W*$
            ^(?!.*\b(?:expected|assert\w*)\b).*\btoo many requests
            <429>
            """
        ),
    ),
    (
        "authentication_failed",
        _alternatives(
            r"""
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
            """
        ),
    ),
    (
        "model_not_found",
        _alternatives(
            r"""
            model_not_found
            \b(?:unknown|invalid|unsupported|no such) model\b
            \bmodel:? (?:[\w"'`./:@-]{1,120} )?(?:was )?(?:not found|does not exist)
            \bmodel:? [\w"'`./:@-]{1,120} is not (?:supported|available)
            (?:does not|doesn't|do not) have access to (?:the |this )?model
            """
        ),
    ),
    (
        "permission_denied",
        _alternatives(
            r"""
            permission_error
            \b403 forbidden
            ^[^\w\n]*(?:error: )?forbidden\b
            <403>
            """
        ),
    ),
    (
        "overloaded",
        _alternatives(
            r"""
            overloaded_error
            \b(?:server|service|model|api)s? (?:is |are )?(?:currently |temporarily )?overloaded
            ^[^\w\n]*(?:error:? )?overloaded\W*$
            "overloaded"
            experiencing high demand
            model is at capacity
            \b529 overloaded
            <529>
            """
        ),
    ),
    (
        "server_error",
        _alternatives(
            r"""
            internal server error
            bad gateway
            gateway time-?out
            service (?:is )?(?:temporarily )?unavailable
            server had an error
            (?<!\w)server_error\b
            "api_error"
            transient api error
            <5xx>
            """
        ),
    ),
    (
        "stale_session",
        _alternatives(
            r"""
            ^[^\w\n]*(?:error: )?session (?:[\w-]{8,64} )?not found
            """
        ),
    ),
    (
        "network",
        _alternatives(
            r"""
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
            """
        ),
    ),
    (
        "invalid_request",
        _alternatives(
            r"""
            (?<!\w)invalid_request(?:_error)?\b
            BadRequestError
            \b400 bad request
            <400>
            """
        ),
    ),
)
"""The class each list stands for, in the order in which they are tried."""
