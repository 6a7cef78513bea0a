"""The slots as the swarm keeps them: configuration rows, written and removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiError, CredentialNotStored, CredentialUnreadable
from agent_swarm_worker.guards.scrubber import Scrubber
from agent_swarm_worker.login.credential import CodexCredential
from agent_swarm_worker.login.slots import LEGACY_KEY, slot_key, slot_of

if TYPE_CHECKING:
    from agent_swarm_worker.swarm.config import Config
    from agent_swarm_worker.swarm.wire import ConfigRow


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
