"""The file ``auth.json`` from which the codex program takes its login."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import CredentialUnreadable
from agent_swarm_worker.login.credential import CodexCredential
from agent_swarm_worker.login.slots import STANDALONE, slots_of

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_EXPIRY_S = 10 * 24 * 3600
"""How long the vendor's tokens live, for one that does not say."""


@dataclass(frozen=True, slots=True)
class Seed:
    """The login a machine starts with."""

    credential: CodexCredential
    keep_refresh: bool
    """True for one of this machine's own; one of the swarm's is refreshed by the worker alone."""


def seed_of(env: Mapping[str, str]) -> Seed | None:
    """Choose what to write at the start: the swarm's first login, else ``CODEX_OAUTH``.

    Args:
        env: variables of the process, overlaid by the swarm's configuration rows.

    Returns:
        ``None`` if there is neither; what is there already is then to be left alone.

    Raises:
        CredentialUnreadable: ``CODEX_OAUTH`` is set to something else, and there is no slot.
    """
    for credential in slots_of(env).values():
        return Seed(credential, keep_refresh=False)
    own = env.get(STANDALONE, "").strip()
    return Seed(CodexCredential.parse(own), keep_refresh=True) if own else None


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
    # The program renews a login by itself if this is long ago; saying when the token ends, as the
    # public worker does, keeps it from trying.
    moment = credential.expires_ms / 1000 or datetime.now(UTC).timestamp() + NO_EXPIRY_S
    document = {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": credential.id_token or credential.access,
            "access_token": credential.access,
            "refresh_token": credential.refresh if keep_refresh else "",
            "account_id": credential.account_id,
        },
        "last_refresh": wire_time(datetime.fromtimestamp(int(moment), UTC)),
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


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
    # `mkstemp` makes the file 0600 from the start, under a name of its own for each writer.
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return credential


def codex_home(env: Mapping[str, str]) -> Path:
    """Return where the codex program keeps its own login."""
    return Path(env.get("CODEX_HOME", "").strip() or Path(env.get("HOME", "/")) / ".codex")


def login_in_file(path: Path) -> CodexCredential | None:
    """Return the ChatGPT login of an ``auth.json``; ``None`` if there is no such thing."""
    try:
        return CodexCredential.parse(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, CredentialUnreadable):
        return None
