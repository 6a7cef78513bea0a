"""Open connections to the API: sockets, and their reuse.

httpcore2 speaks HTTP, TLS and the proxies' protocols. Its own pool and sockets, made for any event
loop and for many hosts, take half of the CPU time of a request; these do the same for one host.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Any

import anyio
import httpcore2
from anyio.abc import SocketAttribute

from agent_swarm_worker.network import proxy_for, ssl_context

if TYPE_CHECKING:
    import ssl

    from agent_swarm_worker.network import Address, Proxy

FAILURES = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError)
"""What a request of a connection raises when it gets no answer, or not all of it."""
KEEP_ALIVE_S = 4.0
"""Below the five seconds after which common servers close an idle connection: a request written to
one that is just being closed may or may not be carried out."""
MAX_CONNECTIONS = 32
MAX_UNREAD_BYTES = 512 * 1024
"""Of one socket, before it stops to read."""


class Connections:
    """The connections to one API; at most `MAX_CONNECTIONS` requests at a time, others wait."""

    def __init__(self, address: Address) -> None:
        """Raise `ConfigError` if the environment names a proxy or file that cannot be used."""
        proxy = proxy_for(address)
        self._factory = httpcore2.AsyncConnectionPool(
            # Loading the system's certificates takes longer than most calls.
            ssl_context=ssl_context() if address.is_encrypted else None,
            proxy=None if proxy is None else _httpcore_proxy(proxy),
            keepalive_expiry=KEEP_ALIVE_S,
            network_backend=_Network(),
        )
        self._origin = address.below("/").origin
        self._idle: list[httpcore2.AsyncConnectionInterface] = []
        """Least recently used first."""
        self._slots = anyio.Semaphore(MAX_CONNECTIONS, fast_acquire=True)

    async def take(self) -> httpcore2.AsyncConnectionInterface:
        """Return a connection for one request, which may not be connected yet."""
        await self._slots.acquire()
        try:
            while self._idle and self._idle[0].has_expired():
                await self._idle.pop(0).aclose()
            while self._idle:
                connection = self._idle.pop()
                if not connection.has_expired():
                    return connection
                await connection.aclose()
            return self._factory.create_connection(self._origin)
        except BaseException:
            self._slots.release()
            raise

    def give_back(self, connection: httpcore2.AsyncConnectionInterface) -> None:
        """End the use of a connection; keep it for another request if it is idle, not closed."""
        if connection.is_available():
            self._idle.append(connection)
        self._slots.release()

    async def aclose(self) -> None:
        """Close the idle connections."""
        while self._idle:
            await self._idle.pop().aclose()


def _httpcore_proxy(proxy: Proxy) -> httpcore2.Proxy:
    login = proxy.login and (proxy.login[0].encode(), proxy.login[1].encode())
    url = httpcore2.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target=b"/")
    return httpcore2.Proxy(url, auth=login, ssl_context=proxy.ssl_context)


class _Network(httpcore2.AsyncNetworkBackend):
    """Connects sockets. Time limits are the caller's."""

    async def connect_tcp(
        self, host: str, port: int, *_: Any, **__: Any
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to one of the host's addresses."""
        try:
            stream = await anyio.connect_tcp(host, port)
        except OSError as error:
            raise httpcore2.ConnectError(error) from error
        socket = stream.extra(SocketAttribute.raw_socket).dup()  # noqa: S610 - not Django's
        try:
            await stream.aclose()
            made = await asyncio.get_running_loop().create_connection(_Socket, sock=socket)
        except BaseException:
            socket.close()
            raise
        return made[1]


class _Socket(asyncio.Protocol, httpcore2.AsyncNetworkStream):
    """A stream on asyncio's transport.

    What is written is sent with the next read, headers and body in one system call. The event loop
    reads all the time, so that reading neither starts nor stops watching the socket.
    """

    def __init__(self) -> None:
        self._unsent: list[bytes] = []
        self._unread = bytearray()
        self._is_paused = False
        self._is_over = False
        """No more bytes will arrive."""
        self._failure: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._poll = select.poll()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._poll.register(transport.get_extra_info("socket"), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) > MAX_UNREAD_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake_reader()

    def eof_received(self) -> None:
        self._is_over = True
        self._wake_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over, self._failure = True, exc
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def write(self, buffer: bytes, *_: Any, **__: Any) -> None:
        """Keep bytes until the next `read`."""
        self._unsent.append(buffer)

    async def read(self, max_bytes: int, *_: Any, **__: Any) -> bytes:
        """Send what was written, and return what has arrived; nothing at the end of the stream."""
        if self._unsent:
            if not (self._is_over or self._transport.is_closing()):
                self._transport.writelines(self._unsent)
            self._unsent.clear()
        while not self._unread and not self._is_over:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        if not self._unread and self._failure is not None:
            raise httpcore2.ReadError(self._failure) from self._failure
        data = bytes(self._unread[:max_bytes])
        del self._unread[:max_bytes]
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, *_: Any, **__: Any
    ) -> httpcore2.AsyncNetworkStream:
        """Encrypt the stream from here on."""
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport, self, ssl_context, server_hostname=server_hostname
            )
        except (OSError, asyncio.IncompleteReadError) as error:  # an SSLError is an OSError
            raise httpcore2.ConnectError(error) from error
        if transport is None:
            raise httpcore2.ConnectError("closed before it was encrypted")
        self._transport = transport
        return self

    async def aclose(self) -> None:
        """Close it at once; unsent bytes are dropped."""
        self._transport.abort()

    def get_extra_info(self, info: str) -> Any:
        """Return ``ssl_object``, or for ``is_readable`` whether the peer closed an idle stream."""
        if info == "is_readable":
            # The event loop may not have heard of it yet.
            return self._is_over or bool(self._unread) or bool(self._poll.poll(0))
        return self._transport.get_extra_info(info)
