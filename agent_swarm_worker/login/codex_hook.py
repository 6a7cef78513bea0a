"""Logging in for codex: the swarm's login pool, its own login, API keys, and ``auth.json``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import (
    ApiError,
    CredentialUnreadable,
    CredentialUnusable,
    LoginError,
)
from agent_swarm_worker.login.auth_json import codex_home, login_in_file, write_auth_json
from agent_swarm_worker.login.codex_pool import codex_options
from agent_swarm_worker.login.refresh import Refresher
from agent_swarm_worker.login.settings import LoginSettings
from agent_swarm_worker.login.slots import (
    STANDALONE,
    slot_key,
    slot_of,
    slots_of,
    with_synthetic_login,
)
from agent_swarm_worker.login.store import SlotStore
from agent_swarm_worker.login.vendor import Vendor, issuer_of
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.login.credential import CodexCredential
    from agent_swarm_worker.login.hook import LoginServices
    from agent_swarm_worker.login.pools import Selection


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
