"""``swarm-worker login --status``: which logins there are, and what they are good for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent_swarm_worker.cli.output import print_line, print_table
from agent_swarm_worker.errors import CredentialUnreadable
from agent_swarm_worker.login.auth_json import codex_home, login_in_file
from agent_swarm_worker.login.credential import CodexCredential, masked
from agent_swarm_worker.login.settings import LoginSettings
from agent_swarm_worker.login.slots import STANDALONE
from agent_swarm_worker.login.store import SlotStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent_swarm_worker.swarm.client import SwarmClient


@dataclass(frozen=True, slots=True)
class _Login:
    slot: str
    credential: CodexCredential | None
    source: str


async def show_status(client: SwarmClient, env: Mapping[str, str]) -> int:
    """Print a table; 0 if one of the logins can be used, else 1.

    Raises:
        ApiError: the swarm does not say.
    """
    stored = await SlotStore(client.config).all()
    logins = [_Login(str(it.number), it.credential, f"swarm: {it.row.key}") for it in stored]
    logins += _own(env)
    if not logins:
        print_line("There is no login; `swarm-worker login` makes one.")
        return 1
    limited = await client.keys.limited(STANDALONE) or {}
    now = datetime.now(UTC)
    print_table(
        ["SLOT", "ACCOUNT", "EXPIRES IN", "LIMITED UNTIL", "SOURCE"],
        [_cells(login, limited, now) for login in logins],
    )
    return 0 if any(_is_usable(login, now) for login in logins) else 1


def _own(env: Mapping[str, str]) -> Iterator[_Login]:
    """The logins of this machine, which count if the swarm has none."""
    if text := LoginSettings.load(env).codex_oauth.strip():
        try:
            yield _Login("-", CodexCredential.parse(text), f"environment: {STANDALONE}")
        except CredentialUnreadable:
            yield _Login("-", None, f"environment: {STANDALONE}")
    path = codex_home(env) / "auth.json"
    if (found := login_in_file(path)) is not None:
        yield _Login("-", found, f"file: {path}")


def _cells(login: _Login, limited: Mapping[str, str], now: datetime) -> list[str]:
    found = login.credential
    if found is None:
        return [login.slot, "unreadable", "-", "-", login.source]
    return [
        login.slot,
        masked(found.account_id),
        _left(found.expires_ms, now),
        limited.get(found.suffix) or "-",
        login.source,
    ]


def _is_usable(login: _Login, now: datetime) -> bool:
    found = login.credential
    return found is not None and (bool(found.refresh) or found.expires_ms / 1000 > now.timestamp())


def _left(expires_ms: int, now: datetime) -> str:
    left_s = int(expires_ms / 1000 - now.timestamp())
    if not expires_ms:
        return "unknown"
    if left_s <= 0:
        return "expired"
    days, hours, minutes = left_s // 86_400, left_s // 3600 % 24, left_s // 60 % 60
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"
