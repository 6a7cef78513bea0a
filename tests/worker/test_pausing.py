"""A task that is paused while it runs stops, and continues when it is resumed."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest
from patience import until
from recording_proxy import QuickClock, endless_worker, proxy_rig
from rig import Rig, harness, running_worker, swarm_rig
from test_unresponsive_harness import tagged
from worker_process import worker_process

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


@pytest.mark.long
async def test_a_paused_task_stops_and_keeps_its_place(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, harness("waits", "/nowhere"), clock=QuickClock(SPEED)),
    ):
        task_id = await rig.submit()
        await paused(rig, task_id)
        assert (await rig.task(task_id))["status"] == "paused"
        assert not proxy.seen(f"{task_id}/finish")
        # Its slot is free for others meanwhile.
        other = await rig.submit("another")
        await rig.until(lambda: rig.logs(other))
        assert (await rig.task(task_id))["status"] == "paused"


@pytest.mark.long
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


@pytest.mark.long
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


async def test_a_word_that_comes_after_its_session_has_ended_does_not_undo_it(tmp_path: Path):
    async with (
        swarm_rig(tmp_path) as rig,
        endless_worker(rig, harness("waits", "/nowhere"), clock=QuickClock(SPEED)),
    ):
        task_id = await rig.submit()
        await paused(rig, task_id)
        await rig.post(f"/api/tasks/{task_id}/progress", {"progress": "late"})
        assert (await rig.task(task_id))["status"] == "in_progress"
        await rig.until_status(task_id, "paused")
        assert len(rig.logged(Event.TASK_STARTED)) == 1


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


@pytest.mark.long
async def test_a_pause_that_is_over_before_anybody_looks_changes_nothing(tmp_path: Path):
    go_on = tmp_path / "go-on"
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("waits", go_on), clock=QuickClock(SPEED)),
    ):
        task_id = await rig.submit()
        await rig.until(lambda: rig.logs(task_id))
        history = f"GET /api/tasks/{task_id}.logsLimit=100"
        look = proxy.hold(f"GET /api/tasks/{task_id}.logsLimit=1$")
        await look.reached.wait()
        await rig.post(f"/api/tasks/{task_id}/pause")
        await rig.post(f"/api/tasks/{task_id}/progress", {"progress": "said meanwhile"})
        await rig.post(f"/api/tasks/{task_id}/pause")
        await rig.post(f"/api/tasks/{task_id}/resume")
        look.open.set()
        await until(lambda: proxy.seen(history))
        looks = len(proxy.seen(f"GET /api/tasks/{task_id}"))
        await until(lambda: len(proxy.seen(f"GET /api/tasks/{task_id}")) > looks + 3)
        assert len(proxy.seen(history)) == 1
        go_on.touch()
        assert (await rig.until_ended(task_id))["output"] == "done at last"
        await rig.settled(task_id)
        assert len({row["sessionId"] for row in await rig.logs(task_id)}) == 1
        assert not rig.logged(Event.TASK_PAUSED)


# --- a worker that is killed, or stops, meanwhile
async def killed_while_paused(rig: Rig, go_on: Path) -> str:
    """Have a task paused by somebody, and the worker that ran it killed; return the task."""
    env = {**rig.env, **harness("waits", go_on)}
    async with worker_process(rig.place, env) as worker:
        task_id = await rig.submit()
        await rig.until(lambda: rig.logs(task_id))
        await rig.post(f"/api/tasks/{task_id}/pause")
        await worker.until_logged(Event.TASK_PAUSED)
        await rig.settled(task_id)
        worker.signal(signal.SIGKILL)
        await worker.exit_code()
    return task_id


@pytest.mark.long
async def test_what_a_person_paused_stays_so_until_a_person_resumes_it(tmp_path: Path):
    go_on = tmp_path / "go-on"
    go_on_later = tmp_path / "later"
    async with proxy_rig(tmp_path) as (rig, proxy):
        task_id = await killed_while_paused(rig, go_on)
        go_on.touch()
        env = harness("waits", go_on_later)
        async with running_worker(rig, env, clock=QuickClock(SPEED)):
            looks = len(proxy.seen(f"GET /api/tasks/{task_id}"))
            await until(lambda: len(proxy.seen(f"GET /api/tasks/{task_id}")) > looks + 1)
            assert (await rig.task(task_id))["status"] == "paused"
        # Resumed while there is no worker at all: nobody tells the next one.
        await rig.post(f"/api/tasks/{task_id}/resume")
        go_on_later.touch()
        async with running_worker(rig, env, clock=QuickClock(SPEED)):
            row = await rig.until_ended(task_id)
        assert (row["status"], row["output"]) == ("completed", "done at last")
        assert len({row["sessionId"] for row in await rig.logs(task_id)}) == 2
        assert not proxy.seen("/supersede|/resume")


@pytest.mark.long
async def test_a_resumed_task_is_not_forgotten_by_a_worker_killed_as_it_begins_it(tmp_path: Path):
    go_on = tmp_path / "go-on"
    async with proxy_rig(tmp_path) as (rig, proxy):
        task_id = await killed_while_paused(rig, go_on)
        await rig.post(f"/api/tasks/{task_id}/resume")
        held = proxy.hold(f"GET /api/tasks/{task_id}")
        async with worker_process(tmp_path, {**rig.env, **harness("waits", go_on)}) as worker:
            await held.reached.wait()  # it has just asked, and is about to begin
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        held.open.set()
        go_on.touch()
        async with running_worker(rig, harness("waits", go_on), clock=QuickClock(SPEED)):
            assert (await rig.until_ended(task_id))["status"] == "completed"


@pytest.mark.long
async def test_a_resume_whose_answer_was_lost_is_gone_on_with(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        async with running_worker(rig, harness("waits", "/nowhere"), drain_ms=0):
            task_id = await rig.submit()
            await until(lambda: rig.logged(Event.SESSION_OUTPUT))
        await rig.api.post(f"/api/tasks/{task_id}/progress", json={"progress": "half way"})
        await rig.post(f"/api/tasks/{task_id}/pause")
        proxy.refuse("GET /api/paused-tasks", 503, times=1)
        proxy.lose_answer(f"POST /api/tasks/{task_id}/resume")
        async with running_worker(rig, harness("says_hi"), clock=QuickClock(SPEED)):
            assert (await rig.until_ended(task_id))["status"] == "completed"
        assert len(proxy.seen("/resume")) == 1


@pytest.mark.long
async def test_a_paused_task_that_is_cancelled_or_gone_is_forgotten(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, harness("waits", "/nowhere"), clock=QuickClock(SPEED)),
    ):
        task_id = await rig.submit()
        await paused(rig, task_id)
        await rig.post(f"/api/tasks/{task_id}/cancel")
        looks = len(proxy.seen(f"GET /api/tasks/{task_id}"))
        await until(lambda: len(proxy.seen(f"GET /api/tasks/{task_id}")) > looks)
        await anyio.sleep(1.5)
        assert len(proxy.seen(f"GET /api/tasks/{task_id}")) == looks + 1
        assert (await rig.task(task_id))["status"] == "cancelled"
        assert len(rig.logged(Event.TASK_STARTED)) == 1
