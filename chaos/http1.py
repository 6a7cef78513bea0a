"""Find the ends of HTTP/1.1 messages; bodies pass unchanged."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

MAX_HEAD_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024


class Broken(Exception):
    """The other side is gone, or speaks no HTTP."""


class _Reader(asyncio.StreamReader):
    """A reader that tells at once when the other side has left, even while nobody reads."""

    def __init__(self) -> None:
        super().__init__(limit=MAX_HEAD_BYTES)
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: BaseException) -> None:
        super().set_exception(exc)  # type: ignore[arg-type]
        self.gone.set()


class Connection:
    """One TCP connection."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self.reader, self._writer = reader, writer

    @classmethod
    async def accepted(cls, sock: socket.socket) -> Self:
        loop = asyncio.get_running_loop()
        reader = _Reader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock)
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    @classmethod
    async def to(cls, host: str, port: int) -> Self:
        """Connect.

        Raises:
            OSError: nobody listens.
        """
        loop = asyncio.get_running_loop()
        reader = _Reader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.create_connection(lambda: protocol, host, port)
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    @property
    def is_usable(self) -> bool:
        return not (self.reader.gone.is_set() or self._writer.is_closing())

    async def send(self, data: bytes) -> None:
        """Send; a side that is gone is noticed by whoever reads."""
        self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError as error:
            raise Broken(str(error)) from None

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Cut, so that the other side gets a reset instead of an end."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@dataclass(slots=True)
class Head:
    """Start line and headers of a message, as they came."""

    start: str
    headers: list[tuple[str, str]]

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.get("transfer-encoding").lower()

    @property
    def is_event_stream(self) -> bool:
        return self.get("content-type").startswith("text/event-stream")

    @property
    def closes(self) -> bool:
        return "close" in self.get("connection").lower()

    @property
    def status(self) -> int:
        return int(self.start.split()[1])

    def encode(self, **changed: str) -> bytes:
        """Return the bytes, with some headers replaced (``host="…"``)."""
        lines = [f"{k}: {changed.get(k.lower(), v)}" for k, v in self.headers]
        return "\r\n".join([self.start, *lines, "", ""]).encode("latin-1")


async def read_head(connection: Connection) -> Head:
    """Read up to the blank line.

    Raises:
        Broken: the connection ended, or this is no HTTP.
    """
    try:
        raw = await connection.reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
        raise Broken(str(error)) from None
    start, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    if len(start.split()) < 2:
        raise Broken(f"no HTTP: {start[:80]!r}")
    pairs = (line.partition(":") for line in lines)
    return Head(start, [(name.strip(), value.strip()) for name, _, value in pairs])


async def body(connection: Connection, head: Head, *, of_request: bool) -> AsyncIterator[bytes]:
    """Yield a message's body with its framing, so that it can be passed on unchanged.

    Raises:
        Broken: the connection ended before the body did.
    """
    try:
        if head.is_chunked:
            async for piece in _chunks(connection.reader):
                yield piece
        elif length := head.get("content-length"):
            left = int(length)
            while left:
                piece = await connection.reader.read(min(left, CHUNK_BYTES))
                if not piece:
                    raise Broken("the body broke off")
                left -= len(piece)
                yield piece
        elif not of_request and head.status >= 200 and head.status not in {204, 304}:
            while piece := await connection.reader.read(CHUNK_BYTES):
                yield piece
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
        raise Broken(str(error)) from None


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        yield line + await reader.readexactly(size + 2) if size else line
        if size == 0:
            break
    while True:
        trailer = await reader.readuntil(b"\r\n")
        yield trailer
        if trailer == b"\r\n":
            return


def message(status: int, content_type: str, content: bytes) -> bytes:
    """Return an answer of our own."""
    head = (
        f"HTTP/1.1 {status} Made Up\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    return head.encode("latin-1") + content
