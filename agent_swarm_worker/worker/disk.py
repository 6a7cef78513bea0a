"""Whether there is room on the disk to begin a task.

A session needs a few private files. On a full disk each task would fail in a moment and the next
one be claimed, until the swarm's whole queue had failed. So nothing is claimed until there is room.
"""

from __future__ import annotations

import os
from typing import Protocol

from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.parts import Basics, Storage

MIN_FREE_BYTES = 4 * 1024 * 1024
LOOK_INTERVAL_S = 2.0


class Parts(Basics, Storage, Protocol):
    """What this module uses of the worker."""


async def until_room(worker: Parts) -> None:
    """Return when a task can be begun; says so once if it has to wait."""
    is_told = False
    while (free_bytes := _free_bytes(worker)) < MIN_FREE_BYTES:
        if not is_told:
            why = "the disk is full: no task is begun"
            worker.log.warning(Event.STATE_DEGRADED, why=why, free_bytes=free_bytes)
            is_told = True
        await worker.clock.sleep(LOOK_INTERVAL_S)


def _free_bytes(worker: Parts) -> float:
    try:
        disk = os.statvfs(worker.state.path)
    except OSError:
        return float("inf")  # cannot be asked, which does not mean that it is full
    return disk.f_bavail * disk.f_frsize
