"""Checks base URL, path segments and header values before they are sent."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, unquote, urlsplit

import httpcore2

from agent_swarm_worker.errors import BadSetting

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


def segment(value: str) -> str:
    """Return an identifier as one segment of a path.

    Raises:
        BadSetting: it is empty or leaves its directory: servers resolve even an encoded ``..``.
    """
    if value in {"", ".", ".."}:
        raise BadSetting("id", value, "this is not an identifier")
    return quote(value, safe="", errors="replace")


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
