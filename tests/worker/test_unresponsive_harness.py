"""A cancelled session leaves no process, even of a program that ignores signals."""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio
import pytest
from patience import WAIT_S
from rig import harness, running_worker, swarm_rig

pytestmark = pytest.mark.anyio


def tagged(session_uuid: str) -> list[int]:
    """Return the processes that carry the tag of a session."""
    entry = f"AGENT_SWARM_SESSION={session_uuid}".encode()
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        try:
            if entry in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


@pytest.mark.long
async def test_a_stubborn_tree_is_gone_within_12_seconds(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("stubborn")):
        task_id = await rig.submit()
        await rig.until(lambda: rig.logs(task_id))
        (log, *_) = await rig.logs(task_id)
        session_uuid = log["sessionId"]
        with anyio.fail_after(WAIT_S):
            while len(tagged(session_uuid)) < 2:
                await anyio.sleep(0.02)
        began = time.monotonic()
        await rig.post(f"/api/tasks/{task_id}/cancel", {"reason": "enough"})
        await rig.settled(task_id)
        with anyio.fail_after(12 - (time.monotonic() - began)):
            while tagged(session_uuid):
                await anyio.sleep(0.05)
        row = await rig.task(task_id)
        assert (row["status"], row["failureReason"]) == ("cancelled", "enough")


async def test_what_a_finished_session_leaves_running_is_ended(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("leaves_a_child")):
        row = await rig.until_ended(await rig.submit())
        assert (row["status"], row["output"]) == ("completed", "gone home")
        (log, *_) = await rig.logs(row["id"])
        assert not tagged(log["sessionId"])
