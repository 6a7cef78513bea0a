"""The login file of codex: from what the swarm stores to what the program reads.

Two shapes are stored: the flat ``{access, refresh, expires, accountId}`` and codex's own
``auth.json``. Refresh tokens work once, and using one twice revokes the whole family; so the copy
of a login that a fleet shares goes without, and only a login that is this container's own keeps it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.errors import CredentialUnreadable
from agent_swarm_worker.login.auth_json import login_in_file, write_auth_json
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from agent_swarm_worker.swarm.wire import ConfigRow

SHARED = ("codex_oauth_0", "codex_oauth")
"""Rows of the swarm, the preferred one first."""
OWN = "CODEX_OAUTH"
"""A variable of the container."""


def restore(path: Path, env: Mapping[str, str], rows: Iterable[ConfigRow], log: Log) -> str:
    """Write the first usable login to `path`; return where it came from, or nothing.

    A login that somebody made here, in a volume say, is left alone.

    Raises:
        OSError: it cannot be written.
    """
    if _is_own_login(path):
        return ""
    by_key = {row.key: row.value for row in rows}
    candidates = [(key, by_key.get(key, ""), False) for key in SHARED]
    for source, value, keep_refresh in (*candidates, (OWN, env.get(OWN, ""), True)):
        if not value.strip():
            continue
        try:
            write_auth_json(path, value, keep_refresh=keep_refresh)
        except CredentialUnreadable as error:
            log.warning(Event.CONFIG_IGNORED, key=source, why=str(error))
            continue
        return source
    return ""


def _is_own_login(path: Path) -> bool:
    """True for a login that can renew itself; a shared one's copy may be old and is replaced."""
    found = login_in_file(path)
    return found is not None and bool(found.refresh)
