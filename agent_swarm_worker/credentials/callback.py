"""Listen on loopback for the OAuth redirect that ends a login.

Plain HTTP, one request per connection. Browsers open connections in advance, and other pages may
send requests too, so an invalid request does not end the wait.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute

from agent_swarm_worker.credentials.login import CALLBACK_PATH, code_of_query
from agent_swarm_worker.errors import CodeUnusable, LoginDenied, LoginError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from anyio.abc import SocketStream
    from anyio.streams.stapled import MultiListener

MAX_REQUEST_BYTES = 16 * 1024
REQUEST_TIMEOUT_S = 10.0
ADDRESSES = ("127.0.0.1", "::1")
"""Browsers resolve ``localhost`` to either."""

_PAGE = """<!doctype html><meta charset="utf-8"><title>swarm-worker</title>
<body style="font: 1.1em system-ui; margin: 4em auto; max-width: 32em"><h1>{title}</h1><p>{text}"""
_PAGES = {
    200: ("Login received", "You can close this page: swarm-worker goes on in the terminal."),
    400: ("This login cannot be completed", "{why}."),
    403: ("Login declined", "You can close this page; run the command again to retry."),
    404: ("Not found", "There is nothing here."),
    405: ("Method not allowed", "Only the vendor's redirect is answered."),
}


class Callback:
    """Waits for the redirect with the right state."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._is_done = anyio.Event()
        self._code = ""
        self._error: LoginError | None = None

    async def code(self) -> str:
        """Wait for the authorization code.

        Raises:
            LoginDenied: the redirect reports that the login was denied.
        """
        await self._is_done.wait()
        if self._error is not None:
            raise self._error
        return self._code

    async def serve(self, stream: SocketStream) -> None:
        """Answer the request of one connection."""
        async with stream:
            try:
                with anyio.fail_after(REQUEST_TIMEOUT_S):
                    head = await _read_head(stream)
                    status, why = self._handle(head)
                    await stream.send(_response(status, why, with_body=head[:4] != b"HEAD"))
                    await stream.send_eof()
            except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
                return  # TimeoutError included: the client sent nothing in time
            finally:
                if self._code or self._error:
                    self._is_done.set()

    def _handle(self, head: bytes) -> tuple[int, str]:
        """Return the status and, for 400, the reason."""
        parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[1].startswith("/"):
            return 400, "This is no request"
        path, _, query = parts[1].partition("?")
        if path != CALLBACK_PATH:
            return 404, ""
        if parts[0] != "GET":
            return 405, ""
        if self._code or self._error:
            return 200, ""  # the page was reloaded
        try:
            self._code = code_of_query(query, self._state)
        except LoginDenied as error:
            self._error = error
            return 403, ""
        except CodeUnusable as error:
            return 400, str(error)
        except ValueError:
            return 400, "This is no answer of the vendor's"
        return 200, ""


@asynccontextmanager
async def listening(port: int, state: str) -> AsyncIterator[tuple[Callback, int]]:
    """Listen on loopback while the block runs; yield the callback and the port.

    Raises:
        OSError: the port is taken.
    """
    listeners = await _bind(port)
    callback = Callback(state)
    try:
        async with anyio.create_task_group() as group:
            for listener in listeners:
                group.start_soon(listener.serve, callback.serve)
            yield callback, listeners[0].extra(SocketAttribute.local_port)  # noqa: S610 - not Django's
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            for listener in listeners:
                await listener.aclose()


async def _bind(port: int) -> Sequence[MultiListener[SocketStream]]:
    first = await anyio.create_tcp_listener(local_host=ADDRESSES[0], local_port=port)
    bound = first.extra(SocketAttribute.local_port)  # noqa: S610 - not Django's
    try:
        second = await anyio.create_tcp_listener(local_host=ADDRESSES[1], local_port=bound)
    except OSError:
        return [first]  # without IPv6, or the port is taken there: most browsers use IPv4
    return [first, second]


async def _read_head(stream: SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < MAX_REQUEST_BYTES:
        head += await stream.receive(4096)
    return head


def _response(status: int, why: str, *, with_body: bool) -> bytes:
    title, text = _PAGES[status]
    body = _PAGE.format(title=title, text=text.format(why=why)).encode()
    head = (
        f"HTTP/1.1 {status} {title}\r\n"
        "Content-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Referrer-Policy: no-referrer\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (body if with_body else b"")
