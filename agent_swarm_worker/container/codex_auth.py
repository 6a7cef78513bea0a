"""The login that a container of codex starts with; the shapes and the file are `login`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.errors import CredentialUnreadable
from agent_swarm_worker.login.auth_json import codex_home, login_in_file, write_auth_json
from agent_swarm_worker.login.settings import LoginSettings
from agent_swarm_worker.login.slots import STANDALONE, slot_of, slots_of
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Mapping


def restore(env: Mapping[str, str], log: Log) -> bool:
    """Write the first usable login of `env`, rows included; true if there was one.

    A login that can renew itself was made here, in a volume say, and is left alone. One that
    cannot is a copy of the swarm's, may be old, and is replaced. A login of the swarm never brings
    its refresh token along: it would be spent twice.

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


def _name_the_unreadable(env: Mapping[str, str], *, usable: set[int], log: Log) -> None:
    for name, value in env.items():
        slot = slot_of(name)
        if slot is not None and slot not in usable and value.strip():
            log.warning(Event.CONFIG_IGNORED, key=name, why="this is not a ChatGPT login")
