"""The file ``auth.json`` from which the codex program takes its login."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.atomic import write_atomically
from agent_swarm_worker.errors import CredentialUnreadable
from agent_swarm_worker.login.credential import CodexCredential
from agent_swarm_worker.login.settings import LoginSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
