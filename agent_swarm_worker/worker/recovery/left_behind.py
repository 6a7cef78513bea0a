"""Ends what an earlier process of this agent left running."""

from __future__ import annotations

from typing import Protocol

from agent_swarm_worker.worker.boot.parts import Host, Storage


class Parts(Storage, Host, Protocol):
    """What this module uses of the worker."""


async def end_left_behind(worker: Parts) -> None:
    """End what an earlier process left running, first of all: nobody watches over it.

    What it has said stays in its pipes, which are held for whoever reads them in `startup.recover`.
    """
    for claim in worker.state.running():
        await worker.sandbox.sweep(claim.handle or claim.tag)
