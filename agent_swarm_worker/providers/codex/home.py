"""The folder a session's CLI keeps its things in: private, but for what has to outlive it.

Each session has a ``CODEX_HOME`` of its own, so that sessions side by side never share a login or a
configuration. The records of the sessions themselves stay where the operator's CLI keeps them:
that is what a later session goes on from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.codex.credentials import operator_home

if TYPE_CHECKING:
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, ProviderSessionConfig
    from agent_swarm_worker.providers.codex.credentials import Credential

FOLDER = "codex-home"
_KEPT = ("sessions", "archived_sessions")
"""What outlives a session."""
_SHARED = ("AGENTS.md", "AGENTS.override.md", "prompts", "rules")
"""What the operator has written for every session."""


async def prepare_home(config: ProviderSessionConfig, credential: Credential) -> PurePath:
    """Make the session's folder, log in, and link to what is kept elsewhere.

    Args:
        config: the session; the folder is in its private directory, which the caller removes.
        credential: what the session logs in with.

    Raises:
        ProviderError: the folder cannot be written.
    """
    guest, home = config.guest, config.private_dir / FOLDER
    try:
        await guest.files.make_dir(str(home))
        await _log_in(guest, home / "auth.json", credential)
    except OSError as error:
        msg = f"cannot prepare {home}: {error.strerror or error}"
        raise ProviderError(msg) from error
    theirs = operator_home(config.env)
    if theirs is not None:
        await _link(guest, home, theirs)
    return home


async def _log_in(guest: Guest, path: PurePath, credential: Credential) -> None:
    """Write a login of the session's own; one that the CLI renews is used in its place."""
    await guest.files.remove(str(path))
    if credential.file is not None:
        await guest.files.link(str(path), str(credential.file))
        return
    await guest.put([PrivateFile(path=path, content=credential.content)])


async def _link(guest: Guest, home: PurePath, theirs: PurePath) -> None:
    files = guest.files
    for name in (*_KEPT, *_SHARED):
        target, link = str(theirs / name), str(home / name)
        try:
            if name in _KEPT:
                await files.make_dir(target)
            if await files.info(target) is not None and await files.info(link) is None:
                await files.link(link, target)
        except OSError as error:
            # Without its record the session cannot be continued; it can be run all the same.
            Log().warning(Event.STATE_DEGRADED, path=target, why=error.strerror or str(error))
