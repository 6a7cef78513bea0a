"""Stamps the state directory, so that a health check sees that the event loop comes round."""

from __future__ import annotations

import contextlib
from typing import Protocol

from anyio import to_thread

from agent_swarm_worker.swarm.liveness import stamp
from agent_swarm_worker.worker.parts import Basics, Storage

STAMP_INTERVAL_S = 5.0


class Parts(Basics, Storage, Protocol):
    """What this module uses of the worker."""


async def liveness_loop(worker: Parts) -> None:
    """Stamp until cancelled: while the worker boots, waits for a credential, works and drains.

    A full disk takes no stamp that is not there yet, but the time of one that is: that costs
    nothing. A disk that hangs makes the stamp old, as it should; it does not hold up the loop.
    """
    while True:
        # The state directory has its own ways to tell of a failure; here the stamp grows old.
        with contextlib.suppress(OSError):
            await to_thread.run_sync(stamp, worker.state.path, abandon_on_cancel=True)
        await worker.clock.sleep(STAMP_INTERVAL_S)
