"""Connections to the API, and clients for other servers: sockets, proxies, certificates.

httpcore2 speaks HTTP, TLS and the proxies' protocols. Its own pool and sockets, made for any event
loop and for many hosts, take half of the CPU time of a request; these do the same for one host.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

import anyio
import httpcore2
from anyio.abc import SocketAttribute

from agent_swarm_worker.api.address import Address
from agent_swarm_worker.errors import BadSetting, MissingExtra
from agent_swarm_worker.settings.base import SettingsModel, Stripped, operator_only, process_env

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import httpx2

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


class NetworkSettings(SettingsModel):
    """Certificates that are trusted; those of the system unless a file or directory is named."""

    # --- network
    cert_file: Stripped = operator_only("SSL_CERT_FILE", default="", is_native=True, is_shared=True)
    """PEM file of the certificate authorities that are trusted instead of the system's."""
    cert_dir: Stripped = operator_only("SSL_CERT_DIR", default="", is_native=True, is_shared=True)
    """Directory of such files, as made by ``openssl rehash``."""
    extra_certs: Stripped = operator_only(
        "NODE_EXTRA_CA_CERTS", default="", is_native=True, is_shared=True
    )
    """PEM file of authorities that are trusted as well."""


def ssl_context() -> ssl.SSLContext:
    """Return a context that trusts what the environment names.

    Raises:
        BadSetting: a file or directory cannot be used.
    """
    settings = NetworkSettings.load(process_env())
    try:
        context = httpcore2.default_ssl_context()
    except OSError as error:  # an SSLError is an OSError
        raise BadSetting("SSL_CERT_FILE", settings.cert_file, _why(error)) from None
    if settings.cert_dir and not settings.cert_file and not Path(settings.cert_dir).is_dir():
        raise BadSetting("SSL_CERT_DIR", settings.cert_dir, "this is not a directory")
    if settings.extra_certs:
        try:
            context.load_verify_locations(settings.extra_certs)
        except OSError as error:
            raise BadSetting("NODE_EXTRA_CA_CERTS", settings.extra_certs, _why(error)) from None
    return context


def _why(error: OSError) -> str:
    return "no certificate in it" if isinstance(error, ssl.SSLError) else str(error.strerror)


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy."""

    scheme: str
    host: str
    port: int | None
    login: tuple[str, str] | None

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """The context for a connection to the proxy itself."""
        return ssl_context() if self.scheme == "https" else None

    @property
    def url(self) -> str:
        """The URL without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port else "")


def proxy_for(address: Address) -> Proxy | None:
    """Return the proxy that the environment names for an address; none for this machine.

    Raises:
        BadSetting: it cannot be used.
        MissingExtra: it is a SOCKS proxy, for which a package is missing.
    """
    named = getproxies()
    scheme = "https" if address.is_encrypted else "http"
    variable = f"{scheme}_proxy" if named.get(scheme) else "all_proxy"
    value = named.get(scheme) or named.get("all")
    exempt = (entry.strip() for entry in named.get("no", "").split(","))
    is_exempt = address.is_loopback or any(e and _is_exempt(e, address) for e in exempt)
    if not value or is_exempt:
        return None
    shown = "***" if "@" in value else value
    bad = BadSetting(variable.upper(), shown, "this is not a proxy's URL")
    try:
        url = urlsplit(value if "://" in value else f"http://{value}")
        host, port = url.hostname, url.port
    except ValueError:
        raise bad from None
    is_known = url.scheme in {"http", "https", "socks5", "socks5h"}
    if not host or not host.isprintable() or " " in host or not is_known:
        raise bad
    if url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise MissingExtra(f"the SOCKS proxy of {variable.upper()}", "socks")
    login = (unquote(url.username or ""), unquote(url.password or ""))
    return Proxy(url.scheme, host, port, login if any(login) else None)


def _is_exempt(entry: str, address: Address) -> bool:
    """True if an entry of ``NO_PROXY`` names this address.

    An entry is ``*``, a name (for itself and those below it), ``.name`` or ``*.name`` (for those
    below it), an IP address, or a network like ``10.0.0.0/8``; it may have a port, and with a
    scheme before it (``http``, ``https`` or ``all``) it names exactly one host.
    """
    if entry == "*":
        return True
    scheme, is_exact, name = entry.lower().rpartition("://")
    if scheme not in {"", "all", "https" if address.is_encrypted else "http"}:
        return False
    try:
        return ip_address(address.host) in ip_network(name.strip("[]"), strict=False)
    except ValueError:  # not both of them are addresses
        pass
    try:
        parts = urlsplit(f"//{name}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if port not in {None, address.port} or parts.path:
        return False
    if host.startswith((".", "*.")):
        return address.host.endswith(host.removeprefix("*"))
    is_below = not is_exact and host != "localhost" and address.host.endswith(f".{host}")
    return address.host == host or is_below


def http_client(
    url: str,
    *,
    name: str = "url",
    event_hooks: Mapping[str, Sequence[Callable[..., Any]]] | None = None,
    **options: Any,
) -> httpx2.AsyncClient:
    """Return a client for one server, with the proxy and certificates of the environment.

    Redirects to another host are refused, wherever they are followed: the request has a key, which
    is not always in a header that a library knows.

    Args:
        url: of the server.
        name: of the setting that names the server, for the error.
        event_hooks: as of `httpx2.AsyncClient`.
        options: others of `httpx2.AsyncClient`.

    Raises:
        ConfigError: the URL, the proxy or a file of certificates cannot be used.
    """
    import httpx2  # noqa: PLC0415 - the first request of a worker does not need it

    address = Address.parse(url.partition("?")[0].partition("#")[0], has_key=True, name=name)
    named = proxy_for(address)
    proxy = None
    if named is not None:
        proxy = httpx2.Proxy(named.url, auth=named.login, ssl_context=named.ssl_context)
    hooks = {kind: list(of_kind) for kind, of_kind in (event_hooks or {}).items()}

    async def stay(response: httpx2.Response) -> None:
        if response.has_redirect_location:
            target = response.request.url.join(response.headers["location"])
            is_downgrade = address.is_encrypted and target.scheme != "https"
            if target.host != response.request.url.host or is_downgrade:
                host = f"{target.scheme}://{target.host}"
                msg = f"{address.shown} redirects to {host}, which is not followed"
                raise httpx2.RemoteProtocolError(msg, request=response.request)

    hooks["response"] = [stay, *hooks.get("response", ())]
    return httpx2.AsyncClient(
        trust_env=False,
        proxy=proxy,
        # Loading the certificates takes long.
        verify=ssl_context() if address.is_encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        event_hooks=hooks,
        **options,
    )
