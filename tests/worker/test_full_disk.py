"""A worker on a full disk claims nothing."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from patience import HANG_S
from rig import running_worker, swarm_rig

from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.loops import poll

pytestmark = pytest.mark.anyio


@pytest.mark.long
async def test_nothing_is_claimed_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(poll, "CHECK_INTERVAL_S", 0.05)
    monkeypatch.setattr(poll, "MIN_FREE_BYTES", 1 << 62)
    async with swarm_rig(tmp_path) as rig:
        task_id = await rig.submit()
        async with running_worker(rig, rig.prints(b"here\n")):

            async def told() -> list[dict[str, object]]:
                return rig.logged(Event.STATE_DEGRADED)

            (line,) = await rig.until(told)
            assert line["why"] == "the disk is full: no task is begun"
            await anyio.sleep(0.3)
            assert (await rig.task(task_id))["status"] == "pending"
            assert len(await told()) == 1
            monkeypatch.setattr(poll, "MIN_FREE_BYTES", 1)
            assert (await rig.until_ended(task_id))["status"] == "completed"


async def test_a_full_disk_does_not_keep_a_worker_from_leaving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(poll, "CHECK_INTERVAL_S", 600.0)
    monkeypatch.setattr(poll, "MIN_FREE_BYTES", 1 << 62)
    async with swarm_rig(tmp_path) as rig:
        with anyio.fail_after(HANG_S):
            async with running_worker(rig, rig.prints(b"")):
                await anyio.sleep(0.2)
