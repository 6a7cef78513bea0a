"""Logging in for codex: the swarm's login pool, its own login, API keys, and ``auth.json``.

What a codex session can log in with, in the order in which it is tried.

A login of ChatGPT comes before a key that costs money, and whatever is not limited before what
is. The swarm's slots are the pool of ``CODEX_OAUTH``; without any, the worker's own login counts.

The file ``auth.json`` from which the codex program takes its login.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.credentials.credential import CodexCredential
from agent_swarm_worker.credentials.pools import SUFFIX_CHARS, Selection, pool_members
from agent_swarm_worker.credentials.refresh import Refresher
from agent_swarm_worker.credentials.settings import LoginSettings
from agent_swarm_worker.credentials.store import (
    POOLED,
    STANDALONE,
    SlotStore,
    slot_key,
    slot_of,
    slots_of,
    with_synthetic_login,
)
from agent_swarm_worker.credentials.vendor import Vendor, issuer_of
from agent_swarm_worker.errors import ApiError, CredentialUnreadable, CredentialUnusable, LoginError
from agent_swarm_worker.files import write_atomically
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agent_swarm_worker.credentials.hook import LoginServices
    from agent_swarm_worker.credentials.pools import AvailableKeys


class CodexLogins:
    """The hook of the harness ``codex``."""

    async def select(self, services: LoginServices) -> list[Selection]:
        """Take the first option that works; a slot's login is made sure of first.

        Raises:
            CredentialUnusable: there are logins, and none of them can be used.
        """
        in_file = login_in_file(codex_home(services.env) / "auth.json")
        if in_file is not None and not in_file.refresh:
            in_file = None  # an old copy of one of the swarm's, which may have been taken away
        refresher = _refresher(services)
        failed: dict[str, LoginError] = {}
        for option in await codex_options(services.env, services.available, in_file=in_file):
            if option.slot is None or option.login is None:
                return [option.selection]
            try:
                login = await refresher.usable(option.slot, option.login)
            except LoginError as error:
                failed[f"slot {option.slot}"] = error
            except ApiError as error:
                failed[f"slot {option.slot}"] = LoginError(str(error))
            else:
                return [_with_login(option.selection, login)]
            why = str(failed[f"slot {option.slot}"])
            services.log.warning(Event.CREDENTIAL_REFUSED, key=slot_key(option.slot), why=why)
        if failed:
            raise CredentialUnusable(services.harness, failed)
        return []

    def lend(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return `env` with a login in it if the swarm has one to lend."""
        return with_synthetic_login(env)

    def restore(self, env: Mapping[str, str], log: Log) -> bool:
        """Write the first usable login of `env`, rows included; true if there was one.

        A login that can renew itself was made here, in a volume say, and is left alone. One that
        cannot is a copy of the swarm's, may be old, and is replaced. A login of the swarm never
        brings its refresh token along: it would be spent twice.

        Raises:
            OSError: it cannot be written.
        """
        path = codex_home(env) / "auth.json"
        here = login_in_file(path)
        if here is not None and here.refresh:
            return False
        shared = slots_of(env)
        _name_the_unreadable(env, usable=set(shared), log=log)
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


def _with_login(selection: Selection, login: CodexCredential) -> Selection:
    value = login.without_refresh().to_value()
    return replace(selection, value=value, suffix=login.suffix)


def _refresher(services: LoginServices) -> Refresher:
    return Refresher(
        store=SlotStore(services.config, services.agent_id),
        locks=services.refresh_locks,
        vendor=Vendor(issuer_of(services.env), clock=services.clock),
        clock=services.clock,
        lock_dir=services.lock_dir,
        on_secret=services.on_secret,
        memory=services.memory,
        log=services.log,
    )


def _name_the_unreadable(env: Mapping[str, str], *, usable: set[int], log: Log) -> None:
    for name, value in env.items():
        slot = slot_of(name)
        if slot is not None and slot not in usable and value.strip():
            log.warning(Event.CONFIG_IGNORED, key=name, why="this is not a ChatGPT login")


OPENAI_KEY = "OPENAI_API_KEY"
KEY_ONLY = {"CODEX_AUTH_MODE": "apikey"}
"""Given with an API key: the program is to use it although it may be logged in."""


@dataclass(frozen=True, slots=True)
class Option:
    """One credential that can be tried."""

    selection: Selection
    slot: int | None = None
    login: CodexCredential | None = None
    """What is thought to be in the slot."""


def _shuffled(options: Sequence[Option]) -> list[Option]:
    return random.sample(options, len(options))


async def codex_options(
    env: Mapping[str, str],
    available: AvailableKeys,
    *,
    in_file: CodexCredential | None,
    shuffle: Callable[[Sequence[Option]], Sequence[Option]] = _shuffled,
) -> list[Option]:
    """Return all that a session could use, best first.

    Args:
        env: variables in force, the swarm's rows among them.
        available: asks the server which are not limited.
        in_file: the login of the program's own ``auth.json``, if there is one.
        shuffle: spreads the use over equals.
    """
    logins = await _logins(env, available, in_file)
    keys = await _keys(env, available)
    return [
        option
        for is_limited in (False, True)
        for group in (logins, keys)
        for option in shuffle([it for it in group if it.selection.is_fallback is is_limited])
    ]


async def _logins(
    env: Mapping[str, str], available: AvailableKeys, in_file: CodexCredential | None
) -> list[Option]:
    slots = slots_of(env)
    if slots:
        # The server counts by slot number, which may have gaps.
        total = max(slots) + 1
        usable = await available(STANDALONE, total)
        return [
            Option(
                Selection(
                    STANDALONE,
                    slot,
                    total,
                    login.suffix,
                    login.without_refresh().to_value(),
                    is_fallback=usable is not None and slot not in usable,
                    also={POOLED: "1"},
                ),
                slot,
                login,
            )
            for slot, login in slots.items()
        ]
    own = [
        (member, _suffix(member)) for member in pool_members(LoginSettings.load(env).codex_oauth)
    ]
    if not own and in_file is not None:
        own = [("", in_file.suffix)]
    return await _plain(STANDALONE, own, available)


async def _keys(env: Mapping[str, str], available: AvailableKeys) -> list[Option]:
    members = pool_members(LoginSettings.load(env).openai_api_key)
    keys = [(key, key[-SUFFIX_CHARS:]) for key in members]
    return await _plain(OPENAI_KEY, keys, available, also=KEY_ONLY)


async def _plain(
    name: str,
    members: Sequence[tuple[str, str]],
    available: AvailableKeys,
    *,
    also: Mapping[str, str] = MappingProxyType({}),
) -> list[Option]:
    if not members:
        return []
    usable = await available(name, len(members))
    return [
        Option(
            Selection(
                name,
                index,
                len(members),
                suffix,
                value,
                is_fallback=usable is not None and index not in usable,
                also=also,
            )
        )
        for index, (value, suffix) in enumerate(members)
    ]


def _suffix(text: str) -> str:
    """Of what is no credential nothing may be known, yet it has to be called something."""
    try:
        return CodexCredential.parse(text).suffix
    except CredentialUnreadable:
        return "?"


NO_EXPIRY_S = 10 * 24 * 3600
"""How long the vendor's tokens live, for one that does not say."""


def codex_auth_json(credential: CodexCredential | str, *, keep_refresh: bool) -> bytes:
    """Return the content of an ``auth.json``.

    Args:
        credential: one, or its text in any form that is understood.
        keep_refresh: false for a login of the swarm: the program must not spend its refresh token.

    Raises:
        CredentialUnreadable: the text is no credential.
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
        "last_refresh": credential.last_refresh or _end_of(credential),
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def _end_of(credential: CodexCredential) -> str:
    """Said to be the last refresh: if that is long ago the program renews the login by itself."""
    moment_s = credential.expires_ms / 1000 or datetime.now(UTC).timestamp() + NO_EXPIRY_S
    try:
        moment = datetime.fromtimestamp(moment_s, UTC)
    except (OverflowError, ValueError, OSError):
        moment = datetime.now(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def write_auth_json(
    path: Path, credential: CodexCredential | str, *, keep_refresh: bool
) -> CodexCredential:
    """Write the file, mode 0600 in a directory of mode 0700, whole or not at all.

    Raises:
        CredentialUnreadable: `credential` is a text and no credential; nothing is touched.
        OSError: the file cannot be written.
    """
    if isinstance(credential, str):
        credential = CodexCredential.parse(credential)
    content = codex_auth_json(credential, keep_refresh=keep_refresh)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    write_atomically(path, content, mode=0o600, sync=True)
    return credential


def codex_home(env: Mapping[str, str]) -> Path:
    """Return where the codex program keeps its own login."""
    return LoginSettings.load(env).login_dir


def login_in_file(path: Path) -> CodexCredential | None:
    """Return the ChatGPT login of an ``auth.json``; ``None`` if there is no such thing."""
    try:
        return CodexCredential.parse(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, CredentialUnreadable):
        return None
