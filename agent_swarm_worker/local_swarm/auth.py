"""Who may talk to the local swarm.

With a key: whoever knows it. Without one the server listens on loopback only, where every local
program is trusted, but a web page open in the user's browser is not: it can reach loopback too, and
creating a task means running commands. So a keyless server refuses what a browser sends on behalf
of a page from elsewhere (a foreign ``Origin``, or a name that was rebound to loopback as ``Host``).
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.local_swarm.endpoint import json_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = frozenset({"/health"})


def require_safe_binding(host: str, api_key: str) -> None:
    """Refuse to serve other machines without a key.

    Raises:
        BadSetting: `host` is reachable from elsewhere and `api_key` is empty.
    """
    if not api_key and not is_loopback(host):
        why = "without an API key only a loopback address is allowed"
        raise BadSetting("host", host, why)


def is_loopback(host: str) -> bool:
    """True if only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Gate:
    """ASGI middleware in front of every route."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app, self._key = app, api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer 401 or 403."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            headers = Headers(scope=scope)
            if self._key and not self._knows_key(headers):
                await json_response(401, {"error": "Unauthorized"})(scope, receive, send)
                return
            if not self._key and _is_foreign(headers):
                await json_response(403, {"error": "Forbidden: not a local caller"})(
                    scope, receive, send
                )
                return
        await self._app(scope, receive, send)

    def _knows_key(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Headers are latin-1 on the wire; a key with other characters is sent as UTF-8 bytes.
        given_bytes = given.strip().encode("latin-1")
        return scheme.lower() == "bearer" and hmac.compare_digest(given_bytes, self._key)


def _is_foreign(headers: Headers) -> bool:
    origins = headers.getlist("origin")
    if not origins and headers.get("sec-fetch-site") == "cross-site":
        return True  # a picture or a link, for which browsers name no origin
    names = [f"//{headers.get('host', '')}", *origins]
    return not all(is_loopback(_host_of(name)) for name in names)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
