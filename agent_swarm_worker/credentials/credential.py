"""Parse and serialize a ChatGPT login for codex: its tokens, account and expiry.

Stored as ``{access, refresh, expires, accountId}``; the codex program's own ``auth.json`` is parsed
as well, since people use either.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.credentials.pools import SUFFIX_CHARS
from agent_swarm_worker.errors import CredentialUnreadable

if TYPE_CHECKING:
    from datetime import datetime

CLAIMS = "https://api.openai.com/auth"
"""Namespace of the vendor's claims in its tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodexCredential:
    """One login."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    """Valid for one exchange; using it twice revokes the login. May be empty."""
    expires_ms: int
    """Expiry of `access`, in milliseconds since 1970; 0 if not known."""
    account_id: str
    id_token: str = field(default="", repr=False)
    """Like `last_refresh`, known only if the login came from an ``auth.json``."""
    last_refresh: str = ""

    @classmethod
    def parse(cls, text: str) -> CodexCredential:
        """Parse a stored value or an ``auth.json``; a `CredentialUnreadable` repeats none of it."""
        try:
            value = orjson.loads(text.removeprefix("\ufeff").strip())
        except orjson.JSONDecodeError:
            raise CredentialUnreadable("the codex credential is not valid JSON") from None
        if not isinstance(value, dict):
            raise CredentialUnreadable("the codex credential is JSON, but not an object")
        return _from_auth_json(value) if "tokens" in value else _from_flat(value)

    @classmethod
    def from_tokens(
        cls, access: str, refresh: str, *, expires_ms: int, account_id: str = ""
    ) -> CodexCredential:
        """Build a credential from the vendor's response.

        A token that names no account belongs to `account_id`; else it is `CredentialUnreadable`.
        """
        owner = _claim(access, "chatgpt_account_id") or account_id
        if not owner:
            raise CredentialUnreadable("the token does not name a ChatGPT account")
        return cls(access=access, refresh=refresh, expires_ms=expires_ms, account_id=owner)

    def to_value(self) -> str:
        """Return the stored form."""
        return orjson.dumps(
            {
                "access": self.access,
                "refresh": self.refresh,
                "expires": self.expires_ms,
                "accountId": self.account_id,
            }
        ).decode()

    def without_refresh(self) -> CodexCredential:
        """Return a copy for a session, which must never spend the refresh token."""
        return replace(self, refresh="")

    @property
    def suffix(self) -> str:
        """Identifies the login to the swarm: the end of the user's id, else of the account's."""
        owner = _claim(self.access, "chatgpt_user_id") or self.account_id
        return owner[-SUFFIX_CHARS:]


def masked(account_id: str) -> str:
    """Return the recognisable ends of an account's id."""
    return f"{account_id[:3]}…{account_id[-4:]}" if len(account_id) > 12 else f"…{account_id[-2:]}"


def claims_of(token: str) -> dict[str, Any]:
    """Return the unverified claims of a JSON web token; empty if it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    payload = parts[1].replace("+", "-").replace("/", "_")
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _claim(token: str, name: str) -> str:
    own = claims_of(token).get(CLAIMS)
    value = own.get(name) if isinstance(own, dict) else None
    return value.strip() if isinstance(value, str) else ""


def _from_flat(value: dict[str, Any]) -> CodexCredential:
    access = _text(value, "access")
    owner = _text(value, "accountId") or _claim(access, "chatgpt_account_id")
    if not access or not owner:
        raise CredentialUnreadable("the codex credential lacks its access token or its account")
    return CodexCredential(
        access=access,
        refresh=_text(value, "refresh"),
        expires_ms=_milliseconds(value.get("expires")) or _expiry_claim(access),
        account_id=owner,
    )


def _from_auth_json(value: dict[str, Any]) -> CodexCredential:
    tokens = value["tokens"] if isinstance(value["tokens"], dict) else {}
    access = _text(tokens, "access_token")
    owner = _text(tokens, "account_id") or _claim(access, "chatgpt_account_id")
    if not access or not owner:
        raise CredentialUnreadable("the auth.json has no ChatGPT login in it")
    return CodexCredential(
        access=access,
        refresh=_text(tokens, "refresh_token"),
        expires_ms=_expiry_claim(access),
        account_id=owner,
        id_token=_text(tokens, "id_token"),
        last_refresh=_text(value, "last_refresh"),
    )


def _text(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    return found.strip() if isinstance(found, str) else ""


def _milliseconds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0
    return int(value) if 0 < value < 1e15 else 0


def _expiry_claim(token: str) -> int:
    seconds = claims_of(token).get("exp")
    return _milliseconds(seconds) * 1000 if _milliseconds(seconds) < 1e12 else 0


@dataclass(slots=True)
class LoginState:
    """State of a worker's credentials across its sessions, in memory only."""

    refused: set[str] = field(default_factory=set)
    """Digests of refresh tokens that the vendor has refused, and would refuse again."""
    limited_at_s: dict[tuple[str, str], float] = field(default_factory=dict)
    """When a key, by type and suffix, was last rate-limited; monotonic seconds."""
    rests_until: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """Until when it is: the server may not know yet."""
