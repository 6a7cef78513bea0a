"""The folder a session's CLI keeps its things in: private, but for what has to outlive it.

Each session has a ``CODEX_HOME`` of its own, so that sessions side by side never share a login or a
configuration. The records of the sessions themselves stay where the operator's CLI keeps them:
that is what a later session goes on from.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.codex.credentials import operator_home

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent_swarm_worker.providers.codex.credentials import Credential

FOLDER = "codex-home"
_KEPT = ("sessions", "archived_sessions")
"""What outlives a session."""
_SHARED = ("AGENTS.md", "AGENTS.override.md", "prompts", "rules")
"""What the operator has written for every session."""


def prepare_home(private_dir: Path, env: Mapping[str, str], credential: Credential) -> Path:
    """Make the session's folder, log in, and link to what is kept elsewhere.

    Args:
        private_dir: the session's directory; the caller removes it with all that is in it.
        env: the session's environment.
        credential: what the session logs in with.

    Raises:
        ProviderError: the folder cannot be written.
    """
    home = private_dir / FOLDER
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        _log_in(home / "auth.json", credential)
    except OSError as error:
        msg = f"cannot prepare {home}: {error.strerror or error}"
        raise ProviderError(msg) from error
    theirs = operator_home(env)
    if theirs is not None:
        _link(home, theirs)
    return home


def _log_in(path: Path, credential: Credential) -> None:
    """Write a login of the session's own; one that the CLI renews is used in its place."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    if credential.file is not None:
        path.symlink_to(os.path.abspath(credential.file))  # noqa: PTH100 - links stay as they are
        return
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(credential.content)


def _link(home: Path, theirs: Path) -> None:
    for name in (*_KEPT, *_SHARED):
        target, link = theirs / name, home / name
        try:
            if name in _KEPT:
                target.mkdir(mode=0o700, parents=True, exist_ok=True)
            if target.exists() and not link.is_symlink():
                link.symlink_to(os.path.abspath(target))  # noqa: PTH100 - as above
        except OSError as error:
            # Without its record the session cannot be continued; it can be run all the same.
            Log().warning(Event.STATE_DEGRADED, path=str(target), why=error.strerror or str(error))
