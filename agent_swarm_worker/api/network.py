"""Proxies and certificates that the environment names; used by every HTTP client of the worker."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

import httpcore2

from agent_swarm_worker.errors import BadSetting, MissingExtra
from agent_swarm_worker.settings.base import (
    SettingsModel,
    Stripped,
    operator_only,
    process_env,
)

if TYPE_CHECKING:
    from agent_swarm_worker.api.address import Address


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
