"""Find what the CLI logs in with: a ChatGPT login or an API key, as its ``auth.json``."""

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
from agent_swarm_worker.providers.kit.native import mapping, number, parse_file, text
from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest

MAX_FILE_BYTES = 1 << 20
_POOL_ROW = re.compile(r"codex_oauth(?:_\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Credential:
    """The credential of one session."""

    is_oauth: bool
    content: bytes = b""
    """The session's own ``auth.json``, unless `file` is set."""
    file: PurePath | None = None
    """The operator's ``auth.json``, which the CLI keeps fresh itself."""


async def find_credential(env: Mapping[str, str], guest: Guest) -> Credential:
    """Return the credential of a session; a login is preferred to a key.

    Raises:
        CredentialsMissing: there is none.
        CredentialDamaged: the only one cannot be used.
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
    raise damage or CredentialsMissing(SPEC.name, SPEC.credentials.variables)


def without_credentials(env: Mapping[str, str], credential: Credential) -> dict[str, str]:
    """Return the environment of the CLI, which logs in with its file, without credentials.

    The API key stays if it is the credential: the operator's own model provider may use it.
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
            # A row of the pool is renewed by the pool, never by a session.
            is_pooled = name != OAUTH or CodexLogin.load(env).oauth_pooled == "1"
            return Credential(is_oauth=True, content=_auth_json(name, value, is_pooled=is_pooled))
    return None


def login_of(value: str) -> tuple[str, str]:
    """Return access token and account of a login; raises `CredentialDamaged`."""
    tokens = mapping(orjson.loads(_auth_json(OAUTH, value, is_pooled=True))["tokens"])
    return text(tokens.get("access_token")), text(tokens.get("account_id"))


def _auth_json(name: str, value: str, *, is_pooled: bool) -> bytes:
    """Convert a login, flat or in the form of ``auth.json``, to ``auth.json``."""
    try:
        login = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise _damaged(name, f"not JSON ({error.msg})") from None
    flat = mapping(login)
    tokens = mapping(flat.get("tokens"))
    access = text(tokens.get("access_token")) or text(flat.get("access"))
    if not access:
        raise _damaged(name, "it has no access token")
    refresh = text(tokens.get("refresh_token")) or text(flat.get("refresh"))
    expires_ms = number(flat.get("expires"))
    last_refresh = text(flat.get("last_refresh")) or _last_refresh(expires_ms)
    shaped: dict[str, Any] = {
        "auth_mode": "chatgpt",
        API_KEY: None,
        "tokens": {
            "id_token": text(tokens.get("id_token")) or access,
            "access_token": access,
            "refresh_token": "" if is_pooled else refresh,
            "account_id": text(tokens.get("account_id")) or text(flat.get("accountId")),
        },
        "last_refresh": last_refresh,
    }
    return orjson.dumps(shaped)


def _damaged(source: str, why: str) -> CredentialDamaged:
    return CredentialDamaged(SPEC.name, SPEC.credentials.variables, source, why)


def _last_refresh(epoch_ms: float | None) -> str:
    """Return the end of the login as its last refresh: until then the CLI does not renew it."""
    try:
        return wire_time(datetime.fromtimestamp((epoch_ms or 0) / 1000, UTC))
    except (OverflowError, ValueError, OSError):
        return wire_time(datetime.now(UTC))


async def _from_file(env: Mapping[str, str], guest: Guest) -> Credential | None:
    """Return the operator's login file; a copy would use its one-time refresh token twice."""
    options = CodexLogin.load(env)
    path = options.operator_home / "auth.json" if options.operator_home else None
    if path is None or options.auth_mode == "apikey":
        return None
    try:
        content = await guest.read(path, max_bytes=MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(str(path), error.strerror or str(error)) from None
    try:
        login = mapping(parse_file(content))
    except ValueError as error:  # neither kind has the content in these
        why = error.msg if isinstance(error, orjson.JSONDecodeError) else "not Unicode"
        raise _damaged(str(path), f"not JSON ({why})") from None
    is_oauth = bool(mapping(login.get("tokens")).get("access_token"))
    if is_oauth or (login.get(API_KEY) and not options.api_key):
        return Credential(is_oauth=is_oauth, file=path)
    return None
