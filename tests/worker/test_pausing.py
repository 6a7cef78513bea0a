"""A task that somebody pauses while it runs stops, and goes on when somebody resumes it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from door import QuickClock, door_rig, endless_worker, until
from rig import Rig, harness, running_worker, swarm_rig
from test_stubborn import tagged

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

SPEED = 20


async def paused(rig: Rig, task_id: str) -> None:
    """Pause a task that has begun, and wait until its session is gone."""
    await rig.until(lambda: rig.logs(task_id))
    (log, *_) = await rig.logs(task_id)
    await rig.post(f"/api/tasks/{task_id}/pause")
    await until(lambda: rig.logged(Event.TASK_PAUSED))
    await rig.settled(task_id)
    await until(lambda: not tagged(log["sessionId"]))


async def test_a_paused_task_stops_and_keeps_its_place(tmp_path: Path):
    async with (
        door_rig(tmp_path) as (rig, door),
        endless_worker(rig, harness("waits", "/nowhere"), clock=QuickClock(SPEED)),
    ):
        task_id = await rig.submit()
        await paused(rig, task_id)
        assert (await rig.task(task_id))["status"] == "paused"
        assert not door.seen(f"{task_id}/finish")
        # Its slot is free for others meanwhile.
        other = await rig.submit("another")
        await rig.until(lambda: rig.logs(other))
        assert (await rig.task(task_id))["status"] == "paused"


async def test_a_resumed_task_goes_on_with_what_it_was_asked(tmp_path: Path):
    go_on = tmp_path / "go-on"
    async with (
        swarm_rig(tmp_path) as rig,
        running_worker(rig, harness("waits", go_on), clock=QuickClock(SPEED)),
    ):
        task_id = await rig.submit("Guard the gate")
        await paused(rig, task_id)
        go_on.touch()
        await rig.post(f"/api/tasks/{task_id}/resume")
        row = await rig.until_ended(task_id)
        await rig.settled(task_id)
        assert (row["status"], row["output"]) == ("completed", "done at last")
        again = sorted((tmp_path / "state").rglob("*-resume-*.jsonl"))
        assert len(again) == 1
        assert "Guard the gate" in again[0].read_text().partition("\n")[0]


async def test_a_word_that_crosses_the_pause_does_not_undo_it(tmp_path: Path):
    async with (
        swarm_rig(tmp_path) as rig,
        endless_worker(rig, harness("waits", "/nowhere"), clock=QuickClock(SPEED)),
    ):
        task_id = await rig.submit()
        await rig.until(lambda: rig.logs(task_id))
        await rig.post(f"/api/tasks/{task_id}/pause")
        await rig.post(f"/api/tasks/{task_id}/progress", {"progress": "late"})
        await until(lambda: rig.logged(Event.TASK_PAUSED))
        await rig.until_status(task_id, "paused")
        await rig.settled(task_id)
        await anyio.sleep(1)
        assert (await rig.task(task_id))["status"] == "paused"


async def test_a_task_may_be_paused_twice(tmp_path: Path):
    async with (
        swarm_rig(tmp_path) as rig,
        endless_worker(rig, harness("waits", "/nowhere"), clock=QuickClock(SPEED)),
    ):
        task_id = await rig.submit()
        await paused(rig, task_id)
        await rig.post(f"/api/tasks/{task_id}/resume")

        async def second() -> bool:
            return len({row["sessionId"] for row in await rig.logs(task_id)}) == 2

        await rig.until(second)
        await rig.post(f"/api/tasks/{task_id}/pause")
        await until(lambda: len(rig.logged(Event.TASK_PAUSED)) == 2)
        await rig.settled(task_id)
        assert (await rig.task(task_id))["status"] == "paused"


async def test_a_paused_task_that_is_cancelled_or_gone_is_forgotten(tmp_path: Path):
    async with (
        door_rig(tmp_path) as (rig, door),
        endless_worker(rig, harness("waits", "/nowhere"), clock=QuickClock(SPEED)),
    ):
        task_id = await rig.submit()
        await paused(rig, task_id)
        await rig.post(f"/api/tasks/{task_id}/cancel")
        looks = len(door.seen(f"GET /api/tasks/{task_id}"))
        await until(lambda: len(door.seen(f"GET /api/tasks/{task_id}")) > looks)
        await anyio.sleep(1.5)
        assert len(door.seen(f"GET /api/tasks/{task_id}")) == looks + 1
        assert (await rig.task(task_id))["status"] == "cancelled"
        assert len(rig.logged(Event.TASK_STARTED)) == 1
