"""Addresses of servers and how to reach them: URLs, headers, proxies, certificates, clients."""

from __future__ import annotations

import math
import re
import ssl
from base64 import b64encode
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies

import httpcore2

from agent_swarm_worker.errors import BadSetting, MissingExtra
from agent_swarm_worker.settings.base import SettingsModel, Stripped, operator_only, process_env

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    import httpx2

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[\w.~-]+|[\da-f:.]+(%[\w.~-]+)?", re.ASCII | re.IGNORECASE)
"""A name (container networks allow underscores), or an address of either version."""
_UNQUOTED = "/%!$&'()*+,;=:@"


@dataclass(frozen=True, slots=True)
class Address:
    """The base URL of an API."""

    url: str
    shown: str
    """Without credentials, for log and error texts."""
    scheme: str
    host: str
    """In ASCII."""
    port: int
    path: str
    """Percent-encoded, without a trailing slash."""
    login: str
    """The credentials in the URL, as HTTP's basic authentication; empty if it has none."""

    @classmethod
    def parse(cls, base_url: str, *, has_key: bool, name: str = "MCP_BASE_URL") -> Address:
        """Read a base URL. Its credentials are removed if a key will be sent, which they replace.

        Args:
            base_url: without query and fragment.
            has_key: a key will be sent.
            name: of the setting, for the error.

        Raises:
            BadSetting: it is not an HTTP URL.
        """
        base = base_url.strip().rstrip("/")
        try:
            parts = urlsplit(base)
            host, port = (parts.hostname or "").encode("idna").decode(), parts.port
            if not base.isprintable():
                raise ValueError  # noqa: TRY301 - the same error
        except ValueError:
            raise BadSetting(name, "***", "this is not a URL") from None
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        is_usable = parts.scheme in _DEFAULT_PORTS and _HOST.fullmatch(host) and port != 0
        if not is_usable or parts.query or parts.fragment:
            raise BadSetting(name, shown, "expected something like http://host:3013")
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        return cls(
            url=shown if has_key else base,
            shown=shown,
            scheme=parts.scheme,
            host=host,
            port=port or _DEFAULT_PORTS[parts.scheme],
            path=quote(parts.path, safe=_UNQUOTED),
            login="" if has_key or login == ":" else b64encode(login.encode()).decode(),
        )

    @property
    def is_encrypted(self) -> bool:
        """True for HTTPS."""
        return self.scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """True for a host that is this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    @property
    def host_header(self) -> str:
        """The host, and the port if it is not the scheme's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def below(self, path: str) -> httpcore2.URL:
        """Return the URL of an encoded path, which may have a query, below this one."""
        port = None if self.port == _DEFAULT_PORTS[self.scheme] else self.port
        return httpcore2.URL(scheme=self.scheme, host=self.host, port=port, target=self.path + path)


def header(name: str, value: str, *, secret: bool = False) -> str:
    """Return the value of a header that must be sent.

    Raises:
        BadSetting: it has characters that a header cannot carry.
    """
    if not fits_a_header(value):
        shown = "***" if secret else value
        raise BadSetting(name, shown, "only printable ASCII characters can be sent")
    return value


def fits_a_header(value: str) -> bool:
    """True if a header can carry this text unchanged."""
    return value.isascii() and value.isprintable()


def seconds_asked(retry_after: str, now: datetime, most_s: float) -> float:
    """Return a ``Retry-After`` in seconds: a number or a date; 0 if it is neither."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after) - now).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), most_s) if math.isfinite(seconds) else 0.0


class NetworkSettings(SettingsModel):
    """Certificates that are trusted; those of the system unless a file or directory is named."""

    # --- network
    cert_file: Stripped = operator_only("SSL_CERT_FILE", default="", is_native=True)
    """PEM file of the certificate authorities that are trusted instead of the system's."""
    cert_dir: Stripped = operator_only("SSL_CERT_DIR", default="", is_native=True)
    """Directory of such files, as made by ``openssl rehash``."""
    extra_certs: Stripped = operator_only("NODE_EXTRA_CA_CERTS", default="", is_native=True)
    """PEM file of authorities that are trusted as well."""


def ssl_context() -> ssl.SSLContext:
    """Return a context that trusts what the environment names; cached until that changes.

    Raises:
        BadSetting: a file or directory cannot be used.
    """
    settings = NetworkSettings.load(process_env())
    named = (settings.cert_file, settings.cert_dir, settings.extra_certs)
    return _context(settings, tuple(_changed_at_ns(path) for path in named))


def _changed_at_ns(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns if path else 0
    except OSError:
        return 0


@lru_cache(maxsize=1)  # loading the certificates takes long
def _context(settings: NetworkSettings, changed_at_ns: tuple[int, ...]) -> ssl.SSLContext:
    del changed_at_ns  # only part of the key
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


def check_reachable(url: str, *, name: str) -> None:
    """Check, without a connection, that a client for this server can be made.

    Raises:
        ConfigError: the URL, the proxy or a named file of certificates cannot be used.
    """
    address = Address.parse(url.partition("?")[0].partition("#")[0], has_key=True, name=name)
    named, files = proxy_for(address), NetworkSettings.load(process_env())
    is_encrypted = address.is_encrypted or (named is not None and named.scheme == "https")
    if is_encrypted and (files.cert_file or files.cert_dir or files.extra_certs):
        ssl_context()


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
    timeout: httpx2.Timeout | float | None,
    name: str = "url",
    event_hooks: Mapping[str, Sequence[Callable[..., Any]]] | None = None,
    **options: Any,
) -> httpx2.AsyncClient:
    """Return a client for one server, with the proxy and certificates of the environment.

    Redirects to another host or scheme are refused, wherever they are followed: the request has a
    key, which is not always in a header that a library knows.

    Args:
        url: of the server.
        timeout: of each phase, as of `httpx2.AsyncClient`; the caller limits the whole exchange.
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
            if target.host != response.request.url.host or target.scheme != address.scheme:
                host = f"{target.scheme}://{target.host}"
                msg = f"{address.shown} redirects to {host}, which is not followed"
                if target.scheme == "https":  # the key would be sent in plain text each time
                    msg += "; use that address"
                raise httpx2.RemoteProtocolError(msg, request=response.request)

    hooks["response"] = [stay, *hooks.get("response", ())]
    return httpx2.AsyncClient(
        timeout=timeout,
        trust_env=False,
        proxy=proxy,
        # The certificates are not needed without encryption.
        verify=ssl_context() if address.is_encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        event_hooks=hooks,
        **options,
    )
