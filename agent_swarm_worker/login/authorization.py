"""The question put to the vendor: an address for the browser, and the secrets that guard it."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from agent_swarm_worker.login.vendor import CLIENT_ID, SCOPE

if TYPE_CHECKING:
    from collections.abc import Callable

REGISTERED_PORT = 1455
"""The only port of this machine that the vendor sends people back to."""
CALLBACK_PATH = "/auth/callback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """One login that was begun."""

    issuer: str
    port: int
    state: str = field(repr=False)
    """Comes back with the answer, so that no other page can answer."""
    verifier: str = field(repr=False)
    """Proves to the token endpoint that the code was asked for by us (PKCE, RFC 7636)."""

    @property
    def redirect_uri(self) -> str:
        """Where on this machine the vendor sends the browser."""
        return f"http://localhost:{self.port}{CALLBACK_PATH}"

    @property
    def url(self) -> str:
        """For the browser."""
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPE,
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            "state": self.state,
            "id_token_add_organizations": "true",
            "codex_cli_simplified_flow": "true",
            "originator": "agent-swarm",
        }
        return f"{self.issuer}/oauth/authorize?{urlencode(query)}"


def begin(
    issuer: str, port: int, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> Authorization:
    """Make the address of a new login.

    Args:
        issuer: base URL of the OAuth server.
        port: of this machine, where the browser is sent afterwards.
        random_bytes: source of the secrets.
    """
    return Authorization(
        issuer=issuer,
        port=port,
        state=random_bytes(16).hex(),
        verifier=_base64url(random_bytes(32)),
    )


def challenge_of(verifier: str) -> str:
    """Return what the browser carries in the verifier's place."""
    return _base64url(hashlib.sha256(verifier.encode("ascii")).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
