"""Malformed HTTP responses: a call fails soon, with an error of ours and little memory."""

from __future__ import annotations

import time

import pytest
from fake_api import connected
from raw_http_server import MALFORMED, MEGABYTE, UNUSUAL, body, raw_server

from agent_swarm_worker.api import http
from agent_swarm_worker.api.http import MAX_ANSWER_BYTES
from agent_swarm_worker.errors import ApiError, RouteMissing

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_no_answer_is_an_api_error_soon(name: str) -> None:
    async with raw_server() as server, connected(server.url, timeout_s=0.6) as client:
        server.response = MALFORMED[name]
        began, used_s = time.monotonic(), time.thread_time()
        with pytest.raises(ApiError) as caught:
            await client.http.request("POST", "/x", body={"a": 1})
        assert time.thread_time() - used_s < 3
        assert time.monotonic() - began < 15
        assert not isinstance(caught.value, RouteMissing)
        assert len(str(caught.value)) < 500
        assert str(caught.value).isprintable()
        assert len(server.heads) == 1, "it was asked again, or elsewhere"
        assert server.sent_bytes < MAX_ANSWER_BYTES + 24 * MEGABYTE
        server.response = body(b'{"fine": true}')
        assert await client.http.request("GET", "/x") == {"fine": True}


@pytest.mark.parametrize("name", UNUSUAL)
async def test_what_is_merely_odd_is_understood_and_not_remembered(name: str) -> None:
    async with raw_server() as server, connected(server.url, timeout_s=5) as client:
        server.response, expected = UNUSUAL[name]
        assert await client.http.request("POST", "/x") == expected
        server.response = body(b"{}")
        assert await client.http.request("GET", "/x") == {}
        assert b"cookie" not in b"".join(server.heads).lower()


async def test_the_key_goes_nowhere_else() -> None:
    async with raw_server() as elsewhere, raw_server() as server:
        redirect = b"HTTP/1.1 307 Go\r\nLocation: " + elsewhere.url.encode() + b"/\r\n"
        elsewhere.response = body(b"{}")

        async def answer(send: object) -> None:
            await send(redirect + b"Content-Length: 0\r\n\r\n")  # type: ignore[operator]

        server.response = answer
        async with connected(server.url) as client:
            with pytest.raises(ApiError):
                await client.http.request("GET", "/x")
        assert elsewhere.heads == []


@pytest.mark.parametrize(
    ("content", "is_read"),
    [
        (b"[" + b"1," * (http.MAX_VALUES - 2) + b"1]", True),
        (b"[" + b"1," * http.MAX_VALUES + b"1]", False),
        (b'["' + b"," * 2_500_000 + b'"]', False),
        (b'["' + b',\\"' * http.MAX_VALUES + b'"]', True),
        (b'"' + b'\\"' * 1_000_000, False),
        (b'"' + b'\\",' * 1_000_000, False),
    ],
    ids=["many", "too many", "surely too many", "in a text", "no end", "no end, many"],
)
def test_how_many_values_an_answer_may_have(content: bytes, *, is_read: bool) -> None:
    used_s = time.thread_time()
    try:
        http.read_answer("u", 200, "", content)
    except ApiError:
        assert not is_read
    else:
        assert is_read
    assert time.thread_time() - used_s < 2
