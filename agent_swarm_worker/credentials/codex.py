"""Select the login of a codex session: login pool, own login or API key; write ``auth.json``.

The order is: unlimited before rate-limited credentials, and ChatGPT logins before API keys, which
cost money. The worker's own login (``CODEX_OAUTH``, or the program's ``auth.json``) counts only if
the swarm's login pool is empty.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.credentials.credential import CodexCredential
from agent_swarm_worker.credentials.pools import SUFFIX_CHARS, Selection, pool_members
from agent_swarm_worker.credentials.refresh import Refresher
from agent_swarm_worker.credentials.store import (
    POOLED,
    STANDALONE,
    LoginPool,
    entry_key,
    entry_number,
    pool_logins,
)
from agent_swarm_worker.credentials.vendor import LoginSettings, Vendor, issuer_of
from agent_swarm_worker.errors import ApiError, CredentialUnreadable, CredentialUnusable, LoginError
from agent_swarm_worker.files import write_atomically
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agent_swarm_worker.credentials.hook import LoginServices
    from agent_swarm_worker.credentials.pools import AvailableKeys

OPENAI_KEY = "OPENAI_API_KEY"
KEY_ONLY = {"CODEX_AUTH_MODE": "apikey"}
"""Set with an API key: the program must use it although it may be logged in."""
NO_EXPIRY_S = 10 * 24 * 3600
"""Lifetime of the vendor's tokens, for one without an expiry."""


class CodexLogins:
    """The login hook of the harness ``codex``."""

    async def select(self, services: LoginServices) -> list[Selection]:
        """Return the first usable option; a login of the pool is refreshed if due."""
        in_file = login_in_file(LoginSettings.load(services.env).auth_file)
        if in_file is not None and not in_file.refresh:
            in_file = None  # an old copy from the pool, which may have been removed since
        refresher = _refresher(services)
        failed: dict[str, LoginError] = {}
        pool = pool_logins(services.env)
        for option in await login_options(services.env, services.available, in_file=in_file):
            if POOLED not in option.also:
                return [option]
            try:
                login = await refresher.usable(option.index, pool[option.index])
            except (LoginError, ApiError) as error:
                why = str(error)
                key = entry_key(option.index)
                services.log.warning(Event.CREDENTIAL_REFUSED, key=key, why=why)
                failure = error if isinstance(error, LoginError) else LoginError(why)
                failed[f"slot {option.index}"] = failure
            else:
                value = login.without_refresh().to_value()
                return [replace(option, value=value, suffix=login.suffix)]
        if failed:
            raise CredentialUnusable(services.harness, failed)
        return []

    def lend(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return `env` with the first login of the pool, if there is one."""
        first = next(iter(pool_logins(env).values()), None)
        if first is None:
            return dict(env)
        return {**env, STANDALONE: first.without_refresh().to_value(), POOLED: "1"}

    def restore(self, env: Mapping[str, str], log: Log) -> bool:
        """Write ``auth.json`` with the first usable login; return whether there was one.

        A file with a refresh token is left alone: that login was made in this container or its
        volume. One without is a possibly old copy from the pool, and is replaced.
        """
        path = LoginSettings.load(env).auth_file
        current = login_in_file(path)
        if current is not None and current.refresh:
            return False
        shared = pool_logins(env)
        _warn_of_unreadable(env, usable=set(shared), log=log)
        if shared:
            write_auth_json(path, next(iter(shared.values())), keep_refresh=False)
            return True
        own = LoginSettings.load(env).codex_oauth
        if not own:
            return False
        try:
            write_auth_json(path, own, keep_refresh=True)
        except CredentialUnreadable as error:
            log.warning(Event.CONFIG_IGNORED, key=STANDALONE, why=str(error))
            return False
        return True


def _refresher(services: LoginServices) -> Refresher:
    return Refresher(
        pool=LoginPool(services.config, services.agent_id),
        locks=services.refresh_locks,
        vendor=Vendor(issuer_of(services.env), clock=services.clock),
        clock=services.clock,
        lock_dir=services.lock_dir,
        on_secret=services.on_secret,
        state=services.state,
        log=services.log,
    )


def _warn_of_unreadable(env: Mapping[str, str], *, usable: set[int], log: Log) -> None:
    for name, value in env.items():
        number = entry_number(name)
        if number is not None and number not in usable and value.strip():
            log.warning(Event.CONFIG_IGNORED, key=name, why="this is not a ChatGPT login")


# --- options
def _shuffled(options: Sequence[Selection]) -> list[Selection]:
    return random.sample(options, len(options))


async def login_options(
    env: Mapping[str, str],
    available: AvailableKeys,
    *,
    in_file: CodexCredential | None,
    shuffle: Callable[[Sequence[Selection]], Sequence[Selection]] = _shuffled,
) -> list[Selection]:
    """Return all options of a session, best first; `shuffle` distributes the use of equal ones.

    `in_file` is the login of the program's own ``auth.json``.
    """
    logins = await _logins(env, available, in_file)
    keys = await _keys(env, available)
    return [
        option
        for is_limited in (False, True)
        for group in (logins, keys)
        for option in shuffle([it for it in group if it.is_fallback is is_limited])
    ]


async def _logins(
    env: Mapping[str, str], available: AvailableKeys, in_file: CodexCredential | None
) -> list[Selection]:
    if pool := pool_logins(env):
        members = {
            number: (login.without_refresh().to_value(), login.suffix)
            for number, login in pool.items()
        }
        return await _selections(STANDALONE, members, available, also={POOLED: "1"})
    own = [(text, _suffix(text)) for text in pool_members(LoginSettings.load(env).codex_oauth)]
    if not own and in_file is not None:
        own = [("", in_file.suffix)]
    return await _selections(STANDALONE, dict(enumerate(own)), available)


async def _keys(env: Mapping[str, str], available: AvailableKeys) -> list[Selection]:
    keys = pool_members(LoginSettings.load(env).openai_api_key)
    members = {index: (key, key[-SUFFIX_CHARS:]) for index, key in enumerate(keys)}
    return await _selections(OPENAI_KEY, members, available, also=KEY_ONLY)


async def _selections(
    name: str,
    members: Mapping[int, tuple[str, str]],
    available: AvailableKeys,
    *,
    also: Mapping[str, str] = MappingProxyType({}),
) -> list[Selection]:
    """Return a selection for each ``{index: (value, suffix)}``; the indices may have gaps."""
    if not members:
        return []
    total = max(members) + 1
    usable = await available(name, total)
    limited = set() if usable is None else members.keys() - usable
    return [
        Selection(name, index, total, suffix, value, is_fallback=index in limited, also=also)
        for index, (value, suffix) in members.items()
    ]


def _suffix(text: str) -> str:
    try:
        return CodexCredential.parse(text).suffix
    except CredentialUnreadable:
        return "?"  # no part of an unknown text may be shown


# --- auth.json
def codex_auth_json(credential: CodexCredential | str, *, keep_refresh: bool) -> bytes:
    """Return the content of an ``auth.json`` with this login, or with the login that a text holds.

    `keep_refresh` is false for a login of the pool: the program must not spend its refresh token.
    """
    if isinstance(credential, str):
        credential = CodexCredential.parse(credential)
    document = {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": credential.id_token or credential.access,
            "access_token": credential.access,
            "refresh_token": credential.refresh if keep_refresh else "",
            "account_id": credential.account_id,
        },
        "last_refresh": credential.last_refresh or _expiry(credential),
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def _expiry(credential: CodexCredential) -> str:
    """Return the expiry, to stand for the last refresh: with an old one the program refreshes."""
    moment_s = credential.expires_ms / 1000 or datetime.now(UTC).timestamp() + NO_EXPIRY_S
    try:
        moment = datetime.fromtimestamp(moment_s, UTC)
    except (OverflowError, ValueError, OSError):
        moment = datetime.now(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def write_auth_json(path: Path, credential: CodexCredential | str, *, keep_refresh: bool) -> None:
    """Write the result of `codex_auth_json`, mode 0600 in a directory of mode 0700.

    Raises:
        CredentialUnreadable: the text is no credential; nothing is written.
        OSError: the file cannot be written.
    """
    content = codex_auth_json(credential, keep_refresh=keep_refresh)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    write_atomically(path, content, mode=0o600, sync=True)


def login_in_file(path: Path) -> CodexCredential | None:
    """Return the ChatGPT login of an ``auth.json``; ``None`` without a readable one."""
    try:
        return CodexCredential.parse(path.read_text(encoding="utf-8-sig", errors="replace"))
    except (OSError, CredentialUnreadable):
        return None
