"""Mend the HTTP answers of MCP servers before the library reads them.

The library reports an answer that is no message without the server's own text, or waits for
another; `AnswerHooks` are the hooks of an HTTP client that replace such answers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
from mcp_types import (
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)

from agent_swarm_worker.providers.kit.native import mapping
from agent_swarm_worker.providers.pi.mcp_answers import (
    MAX_SAID_CHARS,
    AnswerReader,
    is_answer,
    messages_in,
    unreadable,
)
from agent_swarm_worker.providers.pi.server_events import (
    ReplacedBody,
    body_of,
    event_bytes,
    page_text,
    server_events,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

MAX_EVENT_BYTES = 8 * 1024 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024


class AnswerHooks:
    """The hooks of one connection's HTTP client."""

    def __init__(self, *, answers_in_post: bool) -> None:
        self._answers_in_post = answers_in_post
        """Whether a request is answered in its own response, not in the one event stream."""
        self._reader = AnswerReader()

    async def requested(self, request: httpx2.Request) -> None:
        """Note a request that waits for an answer in the event stream."""
        if not self._answers_in_post and request.method == "POST":
            for message in messages_in(request.content):
                self._reader.sent(message)

    async def responded(self, response: httpx2.Response) -> None:
        """Limit and mend the body of a response."""
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            msg = "a compressed answer, which was not requested"
            raise httpx2.DecodingError(msg, request=response.request)
        source = body_of(response)
        request_id = _request_id(response.request) if self._answers_in_post else None
        content_type = response.headers.get("content-type", "").lower()
        if content_type.startswith("text/event-stream"):
            response.stream = ReplacedBody(source, self._events(source, response, request_id))
        elif request_id is None or _is_for_the_library(response):
            response.stream = ReplacedBody(source, _limited(source))
        else:
            response.headers["content-type"] = "application/json"
            response.stream = ReplacedBody(source, _answer(source, response, request_id))

    async def _events(
        self, source: httpx2.AsyncByteStream, response: httpx2.Response, request_id: Any
    ) -> AsyncGenerator[bytes]:
        said = ""
        async for event in server_events(aiter(source), response.request, MAX_EVENT_BYTES):
            if not event.data or event.event == "endpoint":
                name, line = event.event, event.data.encode()
                yield event_bytes(line, name=name, event_id=event.id)
                continue
            if request_id is None:
                messages = self._reader.read(event.data)
            else:
                messages = [_addressed(each, request_id) for each in messages_in(event.data)]
                if not messages and is_answer(event.data):
                    messages = [unreadable(event.data, request_id)]
                said = said if messages else event.data
            for message in messages:
                yield event_bytes(_dumped(message), event_id=event.id)
        if said:  # the library ignores it if there was an answer
            yield event_bytes(_dumped(unreadable(said, request_id)))


def _request_id(request: httpx2.Request) -> Any:
    if request.method != "POST":
        return None
    body = mapping(json.loads(request.content))
    return body.get("id") if "method" in body else None


def _is_for_the_library(response: httpx2.Response) -> bool:
    """Return whether the status says all, and the library acts on it."""
    forgot_session = response.status_code == 404 and "mcp-session-id" in response.request.headers
    return response.status_code == 202 or response.is_redirect or forgot_session


async def _answer(
    source: httpx2.AsyncByteStream, response: httpx2.Response, request_id: Any
) -> AsyncGenerator[bytes]:
    """Yield the answer in a body, or an error with what the body says."""
    body = b"".join([chunk async for chunk in _limited(source)])
    status = response.status_code
    for message in messages_in(body):
        if isinstance(message, JSONRPCError) or (
            isinstance(message, JSONRPCResponse) and status < 400
        ):
            yield _dumped(_addressed(message, request_id))
            return
    if status < 400:
        yield _dumped(unreadable(body, request_id))
        return
    error = unreadable(b"", request_id)
    shown = page_text(body.decode("utf-8", "replace"))[:MAX_SAID_CHARS]
    error.error.message = f"HTTP {status}: {shown or response.reason_phrase}"
    yield _dumped(error)


async def _limited(source: httpx2.AsyncByteStream) -> AsyncGenerator[bytes]:
    """Yield a body of limited size: a server may send without end."""
    size = 0
    async for chunk in source:
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            msg = f"an answer of more than {MAX_BODY_BYTES} bytes"
            raise httpx2.StreamError(msg)
        yield chunk


def _addressed(message: JSONRPCMessage, request_id: Any) -> JSONRPCMessage:
    """Return a message, as the answer to a request if it is one."""
    if isinstance(message, JSONRPCResponse | JSONRPCError):
        message.id = request_id
    return message


def _dumped(message: JSONRPCMessage) -> bytes:
    return jsonrpc_message_adapter.dump_json(message, by_alias=True, exclude_unset=True)
