"""Serves raw bytes as HTTP responses: malformed, endless, or with a wrong length."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from anyio.abc import SocketStream

Send = Callable[[bytes], Awaitable[None]]
Response = Callable[[Send], Awaitable[None]]
"""Writes one answer, however long that takes."""

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
MEGABYTE = 1 << 20


def raw(*parts: bytes) -> Response:
    """Say just this, and close."""

    async def answer(send: Send) -> None:
        for part in parts:
            await send(part)

    return answer


def body(content: bytes, *headers: bytes) -> Response:
    """Say this, correctly framed."""
    head = OK + b"".join(header + b"\r\n" for header in headers)
    return raw(head + b"Content-Length: %d\r\n\r\n" % len(content), content)


def endless(first: bytes, again: bytes, *, pause_s: float = 0.0) -> Response:
    """Say the same for as long as anybody listens."""

    async def answer(send: Send) -> None:
        await send(first)
        while True:
            await send(again)
            await anyio.sleep(pause_s)

    return answer


def _bomb(layers: int) -> bytes:
    content = b"0" * (16 * MEGABYTE)
    for _ in range(layers):
        content = gzip.compress(content, 6)
    return content


def _chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


DEEP = b"[" * 100_000 + b"]" * 100_000
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

MALFORMED: dict[str, Response] = {
    "nothing": raw(b""),
    "http/2": raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "tls": raw(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + b"\0" * 100),
    "no head": raw(b"{}\r\n\r\n"),
    "a status of letters": raw(b"HTTP/1.1 OK 200\r\n\r\n{}"),
    "a status of 999": raw(b"HTTP/1.1 999 ?\r\nContent-Length: 2\r\n\r\n{}"),
    "a status of 000": raw(b"HTTP/1.1 000 ?\r\nContent-Length: 2\r\n\r\n{}"),
    "NUL in a header": raw(OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}"),
    "a header without a name": raw(OK + b": x\r\nContent-Length: 2\r\n\r\n{}"),
    "two lengths": raw(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
    "a length below zero": raw(OK + b"Content-Length: -1\r\n\r\n{}"),
    "a length of 10^100": raw(OK + b"Content-Length: 1" + b"0" * 100 + b"\r\n\r\n{}"),
    "a length too long": raw(OK + b"Content-Length: 50\r\n\r\n{}"),
    "a chunk of letters": raw(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk of 16^50": raw(CHUNKED + b"f" * 50 + b"\r\n{}"),
    "chunks without an end": raw(CHUNKED + _chunked(b"{}")),
    "deep": body(DEEP),
    "deep inside": body(b'{"a":' + DEEP + b"}"),
    "NaN": body(b'{"a": NaN}'),
    "Infinity": body(b'{"a": -Infinity}'),
    "1e400": body(b'{"a": 1e400}'),
    "10^5000": body(b'{"a": 1' + b"0" * 5000 + b"}"),
    "no UTF-8": body(b'{"a": "\xff\xfe"}'),
    "an overlong NUL": body(b'{"a": "\xc0\x80"}'),
    "UTF-16": body('{"a": 1}'.encode("utf-16")),
    "two documents": body(b"{}{}"),
    "a million arrays": body(b"[" + b"[]," * 1_000_000 + b"0]"),
    "a million objects": body(b'{"a":[' + b'{"a":1},' * 1_000_000 + b"0]}"),
    "not gzip": body(b"{}", b"Content-Encoding: gzip"),
    "a bomb": body(_bomb(1), b"Content-Encoding: gzip"),
    "a bomb in a bomb": body(_bomb(2), b"Content-Encoding: gzip, gzip"),
    "an unknown encoding": body(b"{}", b"Content-Encoding: x-evil"),
    "404 of blanks": raw(b"HTTP/1.1 404 No\r\nContent-Length: 1000000\r\n\r\n", b" " * MEGABYTE),
    "endless head": endless(OK, b"X: a\r\n" * 10_000),
    "one endless header": endless(OK + b"X: ", b"a" * MEGABYTE),
    "endless body": endless(OK + b"Content-Length: 1000000000000\r\n\r\n", b" " * MEGABYTE),
    "endless chunks": endless(CHUNKED, _chunked(b" " * MEGABYTE)),
    "100 forever": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "103 forever": endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000),
    "a slow head": endless(OK, b"X", pause_s=0.01),
    "a slow body": endless(OK + b"Content-Length: 1000000\r\n\r\n", b" ", pause_s=0.01),
    "an upgrade": raw(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"),
    **{
        f"a redirect to {where.decode('latin-1')}": raw(
            b"HTTP/1.1 %d Go\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, where)
        )
        for status, where in (
            (301, b"file:///etc/passwd"),
            (307, b"//127.0.0.1:1/"),
            (308, b"http://127.0.0.1:1/"),
            (302, b"javascript:0"),
            (303, b"\xff"),
        )
    },
}
"""No answer that the contract knows."""

UNUSUAL: dict[str, tuple[Response, object]] = {
    "a 204 with a body": (raw(b'HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n{"a": 1} '), None),
    "hints first": (raw(b"HTTP/1.1 103 Hm\r\n\r\n" * 20 + OK + b"Content-Length: 2\r\n\r\n{}"), {}),
    "a body to the end": (raw(OK + b'\r\n{"a": 1}'), {"a": 1}),
    "HTTP/1.0": (raw(b"HTTP/1.0 200 OK\r\n\r\n{}"), {}),
    "a folded header": (raw(OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}"), {}),
    "a type of rubbish": (body(b"{}", b"Content-Type: \xff\xfe/\x80; charset=x-no-such"), {}),
    "the same key twice": (body(b'{"a": 1, "a": 2}'), {"a": 2}),
    "a cookie": (body(b"{}", *[b"Set-Cookie: c%d=x; expires=0x9-a" % n for n in range(99)]), {}),
    "commas in a text": (body(b'{"a": "' + b",[{" * 300_000 + b'"}'), {"a": ",[{" * 300_000}),
}
"""Odd, and to be understood all the same."""


class RawServer:
    """Answers every connection's requests with `response`."""

    def __init__(self) -> None:
        self.response: Response = raw(b"")
        self.heads: list[bytes] = []
        self.sent_bytes = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, stream: SocketStream) -> None:
        async def send(data: bytes) -> None:
            await stream.send(data)
            self.sent_bytes += len(data)

        gone = (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError)
        async with stream:
            with contextlib.suppress(*gone):
                self.heads.append(await stream.receive())
                await self.response(send)


@contextlib.asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    """Run one on loopback."""
    server = RawServer()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        try:
            yield server
        finally:
            group.cancel_scope.cancel()
