"""Where a request goes and in whose name: checked once, so that nothing odd is ever sent."""

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
    """Without credentials, for messages."""
    is_loopback: bool
    is_encrypted: bool

    @classmethod
    def parse(cls, base_url: str, *, has_key: bool) -> Address:
        """Read a base URL.

        Args:
            base_url: as the operator gave it.
            has_key: an API key will be sent; credentials in the URL would take its place, so they
                are taken out.

        Raises:
            BadSetting: it is no such URL.
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
        BadSetting: it is empty or would climb (``..``); servers resolve that even when encoded.
    """
    if value in {"", ".", ".."}:
        raise BadSetting("id", value, "this is not an identifier")
    return quote(value, safe="", errors="replace")


def header(name: str, value: str, *, secret: bool = False) -> str:
    """Return a value that must be sent as a header.

    Raises:
        BadSetting: it has characters that cannot be.
    """
    if not fits_a_header(value):
        shown = "***" if secret else value
        raise BadSetting(name, shown, "only printable ASCII characters can be sent")
    return value


def fits_a_header(value: str) -> bool:
    """True if a header can carry this text unchanged."""
    return value.isascii() and value.isprintable()
