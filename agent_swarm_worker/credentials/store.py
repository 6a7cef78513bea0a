"""The slots as the swarm keeps them: configuration rows, written and removed.

The logins a swarm shares: configuration rows ``codex_oauth_<slot>``, of which tasks draw one.
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
    from agent_swarm_worker.api.wire import ConfigRow


@dataclass(frozen=True, slots=True)
class StoredSlot:
    """One row."""

    number: int
    row: ConfigRow
    credential: CodexCredential | None
    """``None`` if the row cannot be read; it takes the slot all the same."""


class SlotStore:
    """Reads and writes the rows."""

    def __init__(self, config: Config, agent_id: str | None = None) -> None:
        """Wrap the endpoints.

        Args:
            config: the endpoints.
            agent_id: whose view is read; ``None`` for the rows that all agents see.
        """
        self._config, self._agent_id = config, agent_id

    async def all(self) -> tuple[StoredSlot, ...]:
        """Return every row of a slot, by number; the legacy one after its successor.

        Raises:
            ApiError: the swarm does not say.
        """
        rows = await self._config.resolved(self._agent_id)
        found = [_read(slot, row) for row in rows if (slot := slot_of(row.key)) is not None]
        return tuple(sorted(found, key=lambda it: (it.number, it.row.key == LEGACY_KEY)))

    async def get(self, number: int) -> StoredSlot | None:
        """Return the row that counts for a slot.

        Raises:
            ApiError: the swarm does not say.
        """
        return next((it for it in await self.all() if it.number == number and it.credential), None)

    async def put(
        self, number: int, credential: CodexCredential, *, instead_of: ConfigRow | None = None
    ) -> None:
        """Store a credential.

        Args:
            number: the slot.
            credential: what to store.
            instead_of: the row it came from, whose scope and key are kept.

        Raises:
            CredentialNotStored: the swarm did not take it.
        """
        scope = (instead_of.scope if instead_of else "") or "global"
        try:
            await self._config.put(
                instead_of.key if instead_of else slot_key(number),
                credential.to_value(),
                scope=scope,
                scope_id=instead_of.scope_id if instead_of and scope != "global" else None,
                is_secret=True,
                description=f"Codex ChatGPT OAuth credentials slot {number}"
                " (stored by codex-login)",
            )
        except ApiError as error:
            words = _without(credential).text(str(error))
            raise CredentialNotStored(f"the swarm did not store slot {number}: {words}") from None

    async def delete(self, number: int) -> int:
        """Delete a slot; return how many rows it had.

        Raises:
            ApiError: the swarm does not do it.
        """
        rows = [it.row for it in await self.all() if it.number == number and it.row.id]
        return sum([await self._config.delete(row.id) for row in rows])


def _read(slot: int, row: ConfigRow) -> StoredSlot:
    try:
        return StoredSlot(slot, row, CodexCredential.parse(row.value))
    except CredentialUnreadable:
        return StoredSlot(slot, row, None)


def _without(credential: CodexCredential) -> Scrubber:
    """A server may repeat in its refusal what it was sent."""
    scrubber = Scrubber()
    scrubber.add("CODEX_OAUTH", credential.to_value())
    return scrubber


LAST_SLOT = 100
LEGACY_KEY = "codex_oauth"
"""How the only login was called before there were slots; counts as slot 0 if that is empty."""
STANDALONE = "CODEX_OAUTH"
"""The variable with a login of this worker's own; its session refreshes it by itself."""
POOLED = "CODEX_OAUTH_POOLED"
"""Set to 1 beside a login that belongs to the swarm, and so must not be refreshed."""

_KEY = re.compile(r"codex_oauth_(0|[1-9]\d{0,2})")
_ANY_CASE = re.compile(r"codex_oauth_\d+", re.IGNORECASE)


def slot_key(slot: int) -> str:
    """Return the configuration key of a slot."""
    return f"codex_oauth_{slot}"


def slot_of(key: str) -> int | None:
    """Return which slot a configuration key means, ``None`` if it means none."""
    if key == LEGACY_KEY:
        return 0
    found = _KEY.fullmatch(key)
    slot = int(found[1]) if found else None
    return slot if slot is not None and slot <= LAST_SLOT else None


def is_slot_name(name: str) -> bool:
    """True for a variable that no session may see: it holds a refresh token of the swarm."""
    return name == LEGACY_KEY or _ANY_CASE.fullmatch(name) is not None


def slots_of(env: Mapping[str, str]) -> dict[int, CodexCredential]:
    """Return the usable logins among the rows of an environment, by slot, lowest first.

    What cannot be read is left out. The row of the old name only counts if slot 0 is empty.
    """
    found: dict[int, CodexCredential] = {}
    for name in sorted(env, key=lambda name: name == LEGACY_KEY):
        slot = slot_of(name)
        if slot is None or slot in found:
            continue
        try:
            found[slot] = CodexCredential.parse(named(env, name))
        except CredentialUnreadable:
            continue
    return dict(sorted(found.items()))


def lowest_free(taken: Collection[int]) -> int | None:
    """Return the first slot that nobody has, gaps included; ``None`` if there is none."""
    return next((slot for slot in range(LAST_SLOT + 1) if slot not in taken), None)


def with_synthetic_login(env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` as a session will roughly see it: with a login if the swarm has one to lend.

    For checks whether there is anything to log in with; no session is started with it.
    """
    slots = slots_of(env)
    if not slots:
        return dict(env)
    first = next(iter(slots.values()))
    return {**env, STANDALONE: first.without_refresh().to_value(), POOLED: "1"}
