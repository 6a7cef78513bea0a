"""Checks base URL, path segments and header values before they are sent."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import httpx2

from agent_swarm_worker.errors import BadSetting

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Address:
    """The base URL of an API."""

    url: str
    shown: str
    """Without credentials, for log and error texts."""
    is_loopback: bool
    is_encrypted: bool

    @classmethod
    def parse(cls, base_url: str, *, has_key: bool) -> Address:
        """Read a base URL.

        Args:
            base_url: as the operator gave it.
            has_key: an API key will be sent. Credentials in the URL would replace it, so they are
                removed.

        Raises:
            BadSetting: it is not an HTTP URL.
        """
        base = base_url.strip().rstrip("/")
        try:
            httpx2.URL(base)
            parts = urlsplit(base)
            usable = bool(parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0)
        except (ValueError, httpx2.InvalidURL):
            raise BadSetting("MCP_BASE_URL", "***", "this is not a URL") from None
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if not usable or parts.query or parts.fragment:
            raise BadSetting("MCP_BASE_URL", shown, "expected something like http://host:3013")
        return cls(
            url=shown if has_key else base,
            shown=shown,
            is_loopback=parts.hostname in _LOOPBACK,
            is_encrypted=parts.scheme == "https",
        )


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
