"""Read server-sent events, and replace the body of an HTTP response while it is read."""

from __future__ import annotations

import html
import re
from codecs import BOM_UTF8
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

_MARKUP = re.compile(
    r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]{1,500}>", re.DOTALL | re.IGNORECASE
)
_TYPE = {"content-type": "text/event-stream; charset=utf-8"}


def page_text(page: str) -> str:
    """Return the text of a page of HTML, or any other text, on one line."""
    return " ".join(html.unescape(_MARKUP.sub(" ", page)).split())


class ReplacedBody(httpx2.AsyncByteStream):
    """The bytes of `content`, which is made from those of `source`."""

    def __init__(self, source: httpx2.AsyncByteStream, content: AsyncGenerator[bytes]) -> None:
        self._source, self._content = source, content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._content

    async def aclose(self) -> None:
        """Close both."""
        await self._content.aclose()
        await self._source.aclose()


def body_of(response: httpx2.Response) -> httpx2.AsyncByteStream:
    """Return the body of a response that was not read."""
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    return response.stream


def server_events(
    source: AsyncIterator[bytes], request: httpx2.Request, max_bytes: int
) -> AsyncIterator[httpx2.ServerSentEvent]:
    """Return the events in a body, also one that begins with a mark or lacks the last empty line.

    Raises `httpx2.SSEError` for an event of more than `max_bytes`.
    """
    body = httpx2.Response(200, headers=_TYPE, content=_framed(source), request=request)
    return aiter(httpx2.EventSource(body, max_event_size=max_bytes))


async def _framed(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    head: bytes | None = b""
    async for chunk in source:
        if head is None:
            yield chunk
            continue
        head += chunk
        if len(head) >= len(BOM_UTF8):
            yield head.removeprefix(BOM_UTF8)
            head = None
    yield (head or b"") + b"\n\n"


def event_bytes(data: bytes | str, *, name: str = "", event_id: str = "") -> bytes:
    """Return one event; `data` has one line."""
    line = data if isinstance(data, bytes) else data.encode()
    head = (f"event: {name}\n" if name else "") + (f"id: {event_id}\n" if event_id else "")
    return head.encode() + b"data: " + line + b"\n\n"
