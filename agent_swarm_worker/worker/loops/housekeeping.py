"""Deletes old journals of which everything has arrived, so that they do not fill the disk.

Stamps the state directory, so that a health check sees that the event loop comes round.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from anyio import to_thread

from agent_swarm_worker.journal.retention import DAY_S, Limits, choose, delete, find
from agent_swarm_worker.state.liveness import stamp
from agent_swarm_worker.worker.boot.parts import Api, Basics, Config, Storage

if TYPE_CHECKING:
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.state.directory import StateDir

INTERVAL_S = 600.0
_OWNER_NOTE = "journals' owner"


class Parts(Config, Basics, Api, Storage, Protocol):
    """What this module uses of the worker."""


def owner(state: StateDir, ids: IdSource) -> str:
    """Return the id by which this worker knows its journals, made up once per state directory."""
    known = state.noted(_OWNER_NOTE)
    if known is None:
        known = ids()
        state.note(_OWNER_NOTE, known)
    return known


async def retention_loop(worker: Parts) -> None:
    """Tidy up until cancelled."""
    mine = owner(worker.state, worker.ids)
    while True:
        await _tidy_up(worker, mine)
        await worker.clock.sleep(INTERVAL_S)


async def _tidy_up(worker: Parts, mine: str) -> None:
    """Look once; a function of its own, so that what was found is not held until the next look."""
    settings = worker.settings
    limits = Limits(
        total_bytes=settings.journals_total_mb << 20, age_s=settings.journals_max_days * DAY_S
    )
    roots = {worker.log_dir.parent: False, worker.state.path / "logs": True}
    found = await to_thread.run_sync(partial(find, roots, mine))
    # Without its database the worker does not know what has arrived.
    if not worker.state.database.is_degraded:
        needed = {Path(path).name for path in worker.outbox.journals()}
        needed |= {claim.log_file.name for claim in worker.state.running()}
        now_s = worker.clock.now().timestamp()
        old = choose(found, limits, needed=needed, now_s=now_s)
        await to_thread.run_sync(partial(delete, old, worker.log_dir, worker.log))


STAMP_INTERVAL_S = 5.0


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
