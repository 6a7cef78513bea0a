"""Errors as services and harnesses word them, and words that are no errors."""

from __future__ import annotations

import pytest

from agent_swarm_worker.guards.error_classes import (
    TEXTS,
    ErrorClass,
    classify_aws,
    classify_error,
)
from agent_swarm_worker.guards.rate_limits import LIMITS
from agent_swarm_worker.providers.subprocess.spec import SPEC as SUBPROCESS

WORDED = {
    "rate_limit": [
        "429 Rate limit reached for gpt-5 in organization org-x on tokens per min (TPM)",
        "API Error: Request rejected (429) · Rate limit exceeded",
        "This request would exceed your account's rate limit. Please try again later.",
        "exceeded retry limit, last status: 429 Too Many Requests",
        '429 {"type":"error","error":{"type":"rate_limit_error","message":"x"}}',
        '429: {"message":"Rate limit reached","code":"rate_limit_exceeded"}',
        "[API Error: Resource has been exhausted (e.g. check quota).",
        "Quota exceeded for quota metric 'requests' and limit 'requests per minute'",
        "Rate limit hit: A (+2 more error(s))",
        "openai.RateLimitError: slow down",
        "HTTP 429",
        "too many requests",
        "rate limit",
        "ThrottlingException: Rate exceeded",
    ],
    "usage_limit": [
        "API Error: Request rejected (429) · You've hit your session limit",
        "You\u2019ve hit your usage limit. Or try again at Jan 15th, 2027 8:00 AM.",
        "Claude AI usage limit reached|1779202200",
        "5-hour limit reached · resets 3pm",
        "You have reached your weekly usage limit",
    ],
    "billing_error": [
        "Credit balance is too low",
        "You exceeded your current quota, please check your plan and billing details.",
        '429: {"type":"insufficient_quota"}',
        "Quota exceeded. Check your plan and billing details.",
        "You are out of credits, ask the workspace owner to refill",
        "402 Payment Required",
    ],
    "authentication_failed": [
        "Not logged in · Please run /login",
        "Invalid API key · Fix external API key",
        "unexpected status 401 Unauthorized: Incorrect API key provided: sk-mock.",
        "Failed to authenticate. API Error: 403 Your account does not have access to this model.",
        "OAuth token has expired",
        "ExpiredTokenException: The security token included in the request is expired",
    ],
    "permission_denied": [
        "403 Forbidden",
        "AccessDeniedException: User is not authorized to perform bedrock:InvokeModel",
    ],
    "context_overflow": [
        "Codex ran out of room in the model\u2019s context window. Start a new conversation",
        "prompt is too long: 250000 tokens > 200000 maximum",
        "This model's maximum context length is 128000 tokens",
        "Context is too large to send safely after automatic compression.",
        "ValidationException: Input is too long for requested model.",
    ],
    "max_output_tokens": ["Claude's response exceeded the 128000 output token maximum."],
    "model_not_found": [
        'Error: Model "nosuch/model" not found. Use --list-models to see available models.',
        '403: {"message":"Project does not have access to model","code":"model_not_found"}',
        "The model `gpt-9` does not exist or you do not have access to it.",
        "ResourceNotFoundException: Could not resolve the foundation model",
    ],
    "overloaded": [
        '529 {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        "We\u2019re currently experiencing high demand, which may cause temporary errors.",
        "Selected model is at capacity. Please try a different model.",
        "Overloaded",
    ],
    "server_error": [
        "API Error: 500 Internal server error. This is a server-side issue, usually temporary",
        "502 <html><body>502 Bad Gateway</body></html>",
        "[API Error: 500 The server had an error while processing your request.]",
        "unexpected status 503 Service Unavailable",
    ],
    "network": [
        "API Error: Connection refused — a firewall or proxy may be blocking it (ECONNREFUSED)",
        "[API Error: Connection error. (cause: fetch failed)]",
        "Reconnecting... waiting for network (Connection failed: error sending request)",
        "getaddrinfo ENOTFOUND api.example.test",
    ],
    "stale_session": ["No conversation found with session ID: 1b2c"],
    "invalid_request": ["400 Bad Request", '{"type":"invalid_request_error","message":"x"}'],
}


@pytest.mark.parametrize(("kind", "text"), [(k, t) for k, ts in WORDED.items() for t in ts])
def test_wordings(kind: str, text: str) -> None:
    assert classify_error(text, also=SUBPROCESS.error_texts) == kind


def test_a_harness_brings_texts_of_its_own():
    text = "the well is dry"
    assert classify_error(text) == "unknown"
    assert classify_error(text, also={"usage_limit": (r"well is \w+",)}) == "usage_limit"
    # A category that the harness gave is only made finer by them, as by all other texts.
    also = {"usage_limit": (r"well is \w+",), "stale_session": (r"well",)}
    assert classify_error(text, category="rate_limit", also=also) == "usage_limit"
    assert classify_error(text, category="network", also=also) == "network"


@pytest.mark.parametrize(
    "text",
    [
        "the file has 429 lines",
        "Error: 429 lines of output",
        "rate limiter middleware test failed",
        "FAILED tests/test_rate_limit.py::test_429",
        "src/rate_limit_error.py: 401 insertions",
        "expected 429 Too Many Requests, got 200",
        "implement rate limiting for the API",
        "the rate limit is documented in docs/rate-limit.md",
        "no matching overloaded function found",
        "test_server_error passed",
        "container exceeded memory usage limit exceeded",
        "line 401: unauthorized access is tested here",
        "added 500 files, deleted 503",
        "segfault",
        "",
    ],
)
def test_words_that_are_no_errors(text: str) -> None:
    assert classify_error(text) is ErrorClass.UNKNOWN


@pytest.mark.parametrize(
    ("text", "category", "status", "kind"),
    [
        ("", "rate_limit", None, "rate_limit"),
        ("You've hit your session limit", "rate_limit", 429, "usage_limit"),
        ("Credit balance is too low", "invalid_request", 400, "billing_error"),
        ("Overloaded", "server_error", 529, "overloaded"),
        ("anything", None, 401, "authentication_failed"),
        ("anything", None, 429, "rate_limit"),
        ("anything", None, 529, "overloaded"),
        ("Connection refused (ECONNREFUSED)", "server_error", None, "network"),
        ("upstream: connection refused", "server_error", 502, "server_error"),
        ("anything", None, 503, "server_error"),
        ("anything", None, 418, "invalid_request"),
        ("prompt is too long", None, 400, "context_overflow"),
        ("connection refused", "authentication_failed", None, "authentication_failed"),
        ("connection refused", "unknown", None, "network"),
        ("connection refused", "made_up", 200, "network"),
        ("x", "cloud_credential_error", None, "authentication_failed"),
        ("x", "RATE_LIMIT", None, "rate_limit"),
    ],
)
def test_what_is_given_outranks_the_text_unless_that_is_finer(
    text: str, category: str | None, status: int | None, kind: str
) -> None:
    assert classify_error(text, category=category, status=status) == kind


def test_every_list_of_texts_stands_for_a_class() -> None:
    assert {kind for kind, _ in TEXTS} <= set(ErrorClass)


@pytest.mark.parametrize(
    "text",
    [
        '\x1b[31mAPI Error: \x1b[1m429\x1b[0m {"error":"x"}',
        "\x1b]0;agent\x07rate \x1b[7mlimit\x1b[27m exceeded",
        "\x9b31mError: 429\x9b0m",
        "rate\x00limit exceeded",
    ],
)
def test_terminal_sequences_do_not_hide_a_class(text: str) -> None:
    assert classify_error(text) is ErrorClass.RATE_LIMIT


def test_only_the_beginning_of_a_huge_text_counts() -> None:
    assert classify_error("x" * 1_000_000 + " overloaded_error") is ErrorClass.UNKNOWN


@pytest.mark.parametrize("kind", ["rate_limit", "usage_limit", "billing_error"])
def test_limits_of_the_credential(kind: str) -> None:
    assert {classify_error(text) for text in WORDED[kind]} <= LIMITS


@pytest.mark.parametrize(
    "kind", sorted(WORDED.keys() - {"rate_limit", "usage_limit", "billing_error"})
)
def test_other_failures_are_not_the_credentials(kind: str) -> None:
    assert LIMITS.isdisjoint(map(classify_error, WORDED[kind]))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ExpiredToken: x", ErrorClass.AUTHENTICATION_FAILED),
        ("ExpiredTokenException: x", ErrorClass.AUTHENTICATION_FAILED),
        ("Error: Unable to locate credentials", ErrorClass.AUTHENTICATION_FAILED),
        ("the request is expired because of the security token", ErrorClass.AUTHENTICATION_FAILED),
        ("UnrecognizedClientException: AccessDeniedException", ErrorClass.AUTHENTICATION_FAILED),
        ("TooManyRequestsException", ErrorClass.RATE_LIMIT),
        ("User: x is not authorized to perform: y", ErrorClass.PERMISSION_DENIED),
        ("ModelNotReadyException", ErrorClass.MODEL_NOT_FOUND),
        ("all is well", None),
    ],
)
def test_aws(text: str, kind: ErrorClass | None) -> None:
    assert classify_aws(text) is kind
