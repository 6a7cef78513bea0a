"""Deletes old journals, and stamps the state directory for the health check."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread

from agent_swarm_worker.journal.retention import DAY_S, Limits, choose, delete, find
from agent_swarm_worker.state.liveness import stamp

if TYPE_CHECKING:
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.state.directory import StateDir
    from agent_swarm_worker.worker.boot.parts import Core

INTERVAL_S = 600.0
STAMP_INTERVAL_S = 5.0
_OWNER_KEY = "journals' owner"


def owner(state: StateDir, ids: IdSource) -> str:
    """Return the id in this worker's journals, generated once per state directory."""
    known = state.noted(_OWNER_KEY)
    if known is None:
        known = ids()
        state.note(_OWNER_KEY, known)
    return known


async def retention_loop(worker: Core) -> None:
    """Delete journals that exceed the limits and have arrived, until cancelled."""
    own_id = owner(worker.state, worker.ids)
    while True:
        await _delete_old_journals(worker, own_id)
        await worker.clock.sleep(INTERVAL_S)


async def _delete_old_journals(worker: Core, own_id: str) -> None:
    """A function of its own, so that the list is freed until the next time."""
    settings = worker.settings
    limits = Limits(
        total_bytes=settings.journals_total_mb << 20, age_s=settings.journals_max_days * DAY_S
    )
    roots = {worker.log_dir.parent: False, worker.state.path / "logs": True}
    found = await to_thread.run_sync(partial(find, roots, own_id))
    # Without its database the worker does not know which lines have arrived.
    if not worker.state.database.is_degraded:
        needed = {Path(path).name for path in worker.outbox.journals()}
        needed |= {claim.log_file.name for claim in worker.state.running()}
        now_s = worker.clock.now().timestamp()
        old = choose(found, limits, needed=needed, now_s=now_s)
        await to_thread.run_sync(partial(delete, old, worker.log_dir, worker.log))


async def liveness_loop(worker: Core) -> None:
    """Stamp until cancelled: while the worker boots, waits for a credential, works and drains.

    On a disk that hangs the stamp gets old, as it should, and the loop does not wait for it.
    """
    while True:
        # The state directory reports its own failures; here the stamp gets old.
        with contextlib.suppress(OSError):
            await to_thread.run_sync(stamp, worker.state.path, abandon_on_cancel=True)
        await worker.clock.sleep(STAMP_INTERVAL_S)
