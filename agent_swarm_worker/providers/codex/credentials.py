"""What the CLI logs in with: a ChatGPT login or an API key, as its ``auth.json``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import CredentialDamaged, CredentialsMissing
from agent_swarm_worker.providers.codex.spec import (
    API_KEY,
    AUTH_MODE,
    OAUTH,
    POOLED,
    SPEC,
    CodexLogin,
)
from agent_swarm_worker.providers.kit.native import mapping, number, text
from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest

HARNESS = SPEC.name
CREDENTIALS = SPEC.credentials.variables
"""One of these must be set, unless the CLI is logged in already; the first one wins."""

MAX_FILE_BYTES = 1 << 20
_POOL_ROW = re.compile(r"codex_oauth(?:_\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Credential:
    """What one session logs in with."""

    is_oauth: bool
    content: bytes = b""
    """An ``auth.json`` of the session's own."""
    file: PurePath | None = None
    """The operator's ``auth.json``, which the CLI keeps fresh itself."""


def operator_home(env: Mapping[str, str]) -> PurePath | None:
    """Return the folder in which the CLI keeps its things when nobody says otherwise."""
    return CodexLogin.load(env).operator_home


async def find_credential(env: Mapping[str, str], guest: Guest) -> Credential:
    """Return what a session logs in with; a login is preferred to a key.

    Raises:
        CredentialsMissing: there is nothing.
        CredentialDamaged: what there is cannot be used, and nothing else is there.
    """
    damage: CredentialDamaged | None = None
    try:
        found = _from_variable(env)
    except CredentialDamaged as error:
        found, damage = None, error
    if found is not None:
        return found
    try:
        found = await _from_file(env, guest)
    except CredentialDamaged as error:
        damage = damage or error
    if found is not None:
        return found
    key = CodexLogin.load(env).api_key
    if key:
        content = orjson.dumps({"auth_mode": "apikey", API_KEY: key})
        return Credential(is_oauth=False, content=content)
    raise damage or CredentialsMissing(HARNESS, CREDENTIALS)


def without_credentials(env: Mapping[str, str], credential: Credential) -> dict[str, str]:
    """Return the environment for the CLI: it logs in with its file, its tools with nothing.

    The API key stays if it is the credential: an operator's own model provider may name it.
    """
    hidden = {OAUTH, POOLED, AUTH_MODE} | ({API_KEY} if credential.is_oauth else set())
    return {
        name: value
        for name, value in env.items()
        if name not in hidden and not _POOL_ROW.fullmatch(name)
    }


def _from_variable(env: Mapping[str, str]) -> Credential | None:
    rows = sorted(name for name in env if _POOL_ROW.fullmatch(name) and name != OAUTH)
    for name in (OAUTH, *rows):
        value = named(env, name).strip()
        if value:
            # A row of the pool is renewed where the pool is kept, never by a session.
            is_pooled = name != OAUTH or CodexLogin.load(env).oauth_pooled == "1"
            return Credential(is_oauth=True, content=_auth_json(name, value, is_pooled=is_pooled))
    return None


def _auth_json(name: str, value: str, *, is_pooled: bool) -> bytes:
    """Reshape a login, flat or as the CLI writes it, to what the CLI reads."""
    try:
        login = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise CredentialDamaged(HARNESS, CREDENTIALS, name, f"not JSON ({error.msg})") from None
    flat = mapping(login)
    tokens = mapping(flat.get("tokens"))
    access = text(tokens.get("access_token")) or text(flat.get("access"))
    if not access:
        raise CredentialDamaged(HARNESS, CREDENTIALS, name, "it has no access token")
    refresh = text(tokens.get("refresh_token")) or text(flat.get("refresh"))
    expires_ms = number(flat.get("expires"))
    written = text(flat.get("last_refresh")) or _moment(expires_ms)
    shaped: dict[str, Any] = {
        "auth_mode": "chatgpt",
        API_KEY: None,
        "tokens": {
            "id_token": text(tokens.get("id_token")) or access,
            "access_token": access,
            "refresh_token": "" if is_pooled else refresh,
            "account_id": text(tokens.get("account_id")) or text(flat.get("accountId")),
        },
        "last_refresh": written,
    }
    return orjson.dumps(shaped)


def _moment(epoch_ms: float | None) -> str:
    """The moment is in the future: until then the CLI sees no reason to renew the login."""
    try:
        return wire_time(datetime.fromtimestamp((epoch_ms or 0) / 1000, UTC))
    except (OverflowError, ValueError, OSError):
        return wire_time(datetime.now(UTC))


async def _from_file(env: Mapping[str, str], guest: Guest) -> Credential | None:
    """Use the operator's login as it is: a copy's one-use refresh token would be spent twice."""
    home = operator_home(env)
    path = home / "auth.json" if home else None
    options = CodexLogin.load(env)
    if path is None or options.auth_mode == "apikey":
        return None
    try:
        content = await guest.read(path, max_bytes=MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = error.strerror or str(error)
        raise CredentialDamaged(HARNESS, CREDENTIALS, str(path), why) from None
    try:
        login = mapping(orjson.loads(content))
    except orjson.JSONDecodeError as error:
        why = f"not JSON ({error.msg})"
        raise CredentialDamaged(HARNESS, CREDENTIALS, str(path), why) from None
    is_oauth = bool(mapping(login.get("tokens")).get("access_token"))
    if is_oauth or (login.get(API_KEY) and not options.api_key):
        return Credential(is_oauth=is_oauth, file=path)
    return None
