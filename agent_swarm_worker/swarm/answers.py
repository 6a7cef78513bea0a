"""What an answer means: a value, or one of the errors of `errors.ApiError`.

Pure: status and bytes in, value or exception out, so that every odd answer can be tested.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, TypeAlias

import orjson

from agent_swarm_worker.errors import ApiError, ApiGarbled, ApiRefused, RouteMissing, Unauthorized

Body: TypeAlias = "bytes | bytearray"
MAX_MESSAGE_CHARS = 300
_MISSING = object()
MAX_VALUES = 500_000
"""In one answer: a byte of JSON can become fifty of memory, so bytes alone are no limit."""
_SURELY_TOO_MANY = 4 * MAX_VALUES
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_SUCH_ROUTE = re.compile(rb"\W*(404)?\W*not found\W*", re.IGNORECASE)
"""What the server says to an unknown route, in plain text; an unknown entity is JSON."""
_MAX_WORDS_BYTES = 200
"""Of such an answer; the expression would take forever for megabytes of blanks."""


def read_answer(url: str, status: int, content_type: str, body: Body) -> Any:
    """Return the parsed body of a success, ``None`` if it is empty.

    Args:
        url: what was asked, fit to be shown.
        status: of the answer.
        content_type: of the answer; only used to describe what cannot be read.
        body: the complete body.

    Raises:
        ApiGarbled: the answer is a redirect, HTML, or not JSON.
        ApiRefused: the status is 4xx or 5xx.
    """
    if 200 <= status < 300:
        return _value(url, content_type, body)
    if 300 <= status < 400:
        # Never followed: a write repeated elsewhere as a GET is worse than an error.
        raise ApiGarbled(url, f"redirect ({status})")
    raise _refusal(url, status, content_type, body)


def _value(url: str, content_type: str, body: Body) -> Any:
    if not body or body.isspace():
        return None
    parsed = _parse(body)
    if parsed is _MISSING:
        raise ApiGarbled(url, _description(content_type, body))
    return parsed


def _refusal(url: str, status: int, content_type: str, body: Body) -> ApiError:
    parsed = _parse(body)
    message = _message(status, parsed)
    value = None if parsed is _MISSING else parsed
    if status == 401:
        return Unauthorized(url, status, message, value)
    if status == 405:
        return RouteMissing(url, status, message, value)
    if status == 404 and parsed is _MISSING:
        if len(body) <= _MAX_WORDS_BYTES and _NO_SUCH_ROUTE.fullmatch(body):
            return RouteMissing(url, status, message)
        # Proxies have words or pages of their own for a server that is just being replaced; to
        # take that for a missing route would mean to leave the feature out.
        return ApiGarbled(url, f"404 with {_description(content_type, body)}")
    return ApiRefused(url, status, message, value)


def _parse(body: Body) -> Any:
    if _has_too_many_values(body):
        return _MISSING
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _MISSING


def _has_too_many_values(body: Body) -> bool:
    count = _separators(body)
    if count > MAX_VALUES:
        # Most of them may stand inside of strings, for instance in the log of a session.
        count = (
            _SURELY_TOO_MANY if count > _SURELY_TOO_MANY else _separators(_STRING.sub(b"", body))
        )
    return count > MAX_VALUES


def _separators(body: Body) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _message(status: int, parsed: Any) -> str:
    said = parsed.get("error") or parsed.get("message") if isinstance(parsed, dict) else None
    if isinstance(said, str) and not said.lstrip().startswith("<"):
        text = " ".join(said.split())
        if len(text) <= MAX_MESSAGE_CHARS:
            return text
        # Between two words: half a key that it quotes would not be recognised where this is logged.
        return text[: text.rfind(" ", 0, MAX_MESSAGE_CHARS) + 1] + "…"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"


def _is_html(content_type: str, body: Body) -> bool:
    return "html" in content_type.lower() or body[:100].lstrip()[:1] == b"<"


def _description(content_type: str, body: Body) -> str:
    if _is_html(content_type, body):
        return "an HTML page"
    if _has_too_many_values(body):
        return f"more than {MAX_VALUES} values"
    return f"{len(body)} bytes that are not JSON"
