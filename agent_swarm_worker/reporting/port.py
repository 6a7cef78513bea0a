"""What reporting needs of the outside: a durable queue of API writes.

`swarm.outbox` provides it; this room knows only the shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from agent_swarm_worker.swarm.queue import WriteKind


WORKER_LANE = "worker"
"""The lane of what concerns the agent and no task: no result waits for it."""


class WriteQueue(Protocol):
    """Takes API writes and owns them from then on."""

    def put(self, lane: str, kind: WriteKind, args: Mapping[str, Any]) -> None:
        """Store one write durably and return; delivery comes later.

        Args:
            lane: writes of one lane are delivered in the order they were put.
            kind: what it is; `swarm.delivery` says what each takes.
            args: plain JSON values.
        """
        ...

    def together(self) -> AbstractContextManager[None]:
        """Make all that is put in the block one write: after a crash, all of it is there or none.

        The block must put nothing that a power cut is not to take back.
        """
        ...

    def told(self) -> None:
        """Note that whatever the log ranges put so far gave rise to was put as well."""
        ...


def task_lane(effective_id: str) -> str:
    """The lane of a task: whoever sees its finish can read all its lines.

    One lane for all of it, and still a line the server chokes on does not hold up the finish: the
    queue moves a write that fails again and again behind the others.
    """
    return effective_id
