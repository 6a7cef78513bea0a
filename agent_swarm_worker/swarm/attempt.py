"""One attempt to carry out one write: what its handler is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.swarm.client import SwarmClient
    from agent_swarm_worker.swarm.queue import Item, Queue


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to carry out one write."""

    client: SwarmClient
    queue: Queue
    item: Item
    log: Log

    @property
    def args(self) -> Mapping[str, Any]:
        """What was asked for; what was ``None`` is absent."""
        return self.item.args

    def dropped(self, why: str, **details: object) -> None:
        """Say that the write, or a part of it, will never arrive."""
        self.log.warning(
            Event.WRITE_DROPPED, lane=self.item.lane, kind=self.item.kind, why=why, **details
        )
