"""The login file of codex: from what the swarm stores to what the program reads.

Two shapes are stored: the flat ``{access, refresh, expires, accountId}`` and codex's own
``auth.json``. Refresh tokens work once, and using one twice revokes the whole family; so the copy
of a login that a fleet shares goes without, and only a login that is this container's own keeps it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.workspace.atomic import write_atomically

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
        document = auth_document(value, keep_refresh=keep_refresh)
        if document is None:
            log.warning(Event.CONFIG_IGNORED, key=source, why="this is not a ChatGPT login")
            continue
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        write_atomically(path, orjson.dumps(document), mode=0o600)
        return source
    return ""


def auth_document(value: str, *, keep_refresh: bool) -> dict[str, Any] | None:
    """Return the content of ``auth.json``; ``None`` if `value` is no login in a known shape."""
    try:
        stored = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(stored, dict):
        return None
    tokens = stored.get("tokens")
    if stored.get("auth_mode") == "chatgpt" and isinstance(tokens, dict):
        if not _is_text(tokens.get("access_token")):
            return None
        kept = tokens if keep_refresh else {**tokens, "refresh_token": ""}
        return {**stored, "tokens": kept}
    access, account, expires = (stored.get(key) for key in ("access", "accountId", "expires"))
    if not _is_text(access) or not _is_text(account) or not isinstance(expires, int | float):
        return None
    refresh = stored.get("refresh")
    return {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": access,
            "access_token": access,
            "refresh_token": refresh if keep_refresh and _is_text(refresh) else "",
            "account_id": account,
        },
        "last_refresh": _moment(expires),
    }


def _is_own_login(path: Path) -> bool:
    """True for a login that can renew itself; a shared one's copy may be old and is replaced."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    if not isinstance(found, dict) or found.get("auth_mode") != "chatgpt":
        return False
    tokens = found.get("tokens")
    return isinstance(tokens, dict) and _is_text(tokens.get("refresh_token"))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _moment(epoch_ms: float) -> str:
    try:
        moment = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
