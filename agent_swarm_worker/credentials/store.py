"""Read and write the login pool: configuration rows ``codex_oauth_<number>`` of the swarm.

Each row is one login that all workers share. ``swarm-worker login --slot`` takes its number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_swarm_worker.credentials.credential import CodexCredential
from agent_swarm_worker.errors import ApiError, CredentialNotStored, CredentialUnreadable
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from agent_swarm_worker.api.configuration import Config
    from agent_swarm_worker.api.wire.resources import ConfigRow

LAST_SLOT = 100
LEGACY_KEY = "codex_oauth"
"""Key of the single login before there was a pool; counts as entry 0 if that is empty."""
STANDALONE = "CODEX_OAUTH"
"""Variable with a login of this worker alone; its session refreshes it."""
POOLED = "CODEX_OAUTH_POOLED"
"""Set to 1 beside a login from the pool, which the session must not refresh."""

_KEY = re.compile(r"codex_oauth_(0|[1-9]\d{0,2})")


@dataclass(frozen=True, slots=True)
class PoolEntry:
    """One row."""

    number: int
    row: ConfigRow
    credential: CodexCredential | None
    """``None`` if the row cannot be parsed; its number is taken all the same."""


class LoginPool:
    """Reads and writes the rows that an agent sees; ``None`` stands for those that all see.

    If the swarm refuses a call or cannot be reached, `put` raises `CredentialNotStored`, and the
    others `ApiError`.
    """

    def __init__(self, config: Config, agent_id: str | None = None) -> None:
        self._config, self._agent_id = config, agent_id

    async def all(self) -> tuple[PoolEntry, ...]:
        """Return all entries by number, the legacy row after ``codex_oauth_0``."""
        rows = await self._config.resolved(self._agent_id)
        found = [
            _parse(number, row) for row in rows if (number := entry_number(row.key)) is not None
        ]
        return tuple(sorted(found, key=lambda it: (it.number, it.row.key == LEGACY_KEY)))

    async def get(self, number: int) -> PoolEntry | None:
        """Return the first readable row with this number."""
        return next((it for it in await self.all() if it.number == number and it.credential), None)

    async def put(
        self, number: int, credential: CodexCredential, *, instead_of: ConfigRow | None = None
    ) -> None:
        """Store a credential; the scope and key of the row that it replaces are kept."""
        scope = (instead_of.scope if instead_of else "") or "global"
        try:
            await self._config.put(
                instead_of.key if instead_of else entry_key(number),
                credential.to_value(),
                scope=scope,
                scope_id=instead_of.scope_id if instead_of and scope != "global" else None,
                is_secret=True,
                description=f"Codex ChatGPT OAuth credentials slot {number}"
                " (stored by codex-login)",
            )
        except ApiError as error:
            # A server may repeat in its error what it was sent.
            scrubber = Scrubber()
            scrubber.add(STANDALONE, credential.to_value())
            why = scrubber.text(str(error))
            raise CredentialNotStored(f"the swarm did not store slot {number}: {why}") from None

    async def delete(self, number: int) -> int:
        """Delete the rows of an entry and return how many there were."""
        rows = [it.row for it in await self.all() if it.number == number and it.row.id]
        return sum([await self._config.delete(row.id) for row in rows])


def _parse(number: int, row: ConfigRow) -> PoolEntry:
    try:
        return PoolEntry(number, row, CodexCredential.parse(row.value))
    except CredentialUnreadable:
        return PoolEntry(number, row, None)


def entry_key(number: int) -> str:
    """Return the configuration key of an entry."""
    return f"codex_oauth_{number}"


def entry_number(key: str) -> int | None:
    """Return the entry number of a configuration key; ``None`` for any other key."""
    if key == LEGACY_KEY:
        return 0
    found = _KEY.fullmatch(key)
    number = int(found[1]) if found else None
    return number if number is not None and number <= LAST_SLOT else None


def lowest_free_number(taken: Collection[int]) -> int | None:
    """Return the lowest number that is not taken; ``None`` if the pool is full."""
    return next((number for number in range(LAST_SLOT + 1) if number not in taken), None)


def pool_logins(env: Mapping[str, str]) -> dict[int, CodexCredential]:
    """Return the readable logins among the rows of an environment, by ascending number.

    The legacy row counts only if entry 0 is empty.
    """
    found: dict[int, CodexCredential] = {}
    for name in sorted(env, key=lambda name: name == LEGACY_KEY):
        number = entry_number(name)
        if number is None or number in found:
            continue
        try:
            found[number] = CodexCredential.parse(named(env, name))
        except CredentialUnreadable:
            continue
    return dict(sorted(found.items()))
