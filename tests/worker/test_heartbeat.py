"""A running task gets heartbeats, and is ended when it is reassigned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from patience import until
from recording_proxy import QuickClock, RecordingProxy, endless_worker, proxy_rig, restartable_rig
from rig import AGENT, Rig, harness, running_worker, swarm_rig
from worker_process import tagged

from agent_swarm_worker.local_swarm.sweeps import SweepSettings
from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio


async def rows(rig: Rig) -> list[dict[str, Any]]:
    return list((await rig.get("/api/active-sessions"))["sessions"])


async def begun(rig: Rig, count: int = 1) -> None:
    await until(lambda: len(rig.logged(Event.SESSION_OUTPUT)) >= 2 * count)


# --- beating
async def test_a_claim_is_announced_before_anything_else_is_done_about_it(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("says_hi")):
        held = proxy.hold_answer("GET /api/poll", containing=b"task_assigned")
        task_id = await rig.submit()
        await held.reached.wait()
        claimed = len(proxy.visits)
        held.open.set()
        await rig.until_ended(task_id)
        about_it = [
            v for v in proxy.visits[claimed:] if task_id.encode() in v.body + v.path.encode()
        ]
        assert about_it[0].name == "POST /api/active-sessions"
        assert about_it[0].json()["taskDescription"] == "Say hi"


@pytest.mark.long
async def test_a_session_that_says_nothing_beats_every_three_seconds(tmp_path: Path):
    speed = 20
    env = {**harness("waits", "/nowhere"), "SWARM_HEARTBEAT_INTERVAL_S": "3"}
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, env, clock=QuickClock(speed)),
    ):
        await rig.submit()
        await begun(rig)
        said = len(rig.logged(Event.SESSION_OUTPUT))
        beats = len(proxy.seen("heartbeat/"))
        await until(lambda: len(proxy.seen("heartbeat/")) >= beats + 6)
        at_s = [visit.at_s * speed for visit in proxy.seen("heartbeat/")[beats:]]
        assert 2 < (at_s[-1] - at_s[0]) / (len(at_s) - 1) < 6
        assert len(rig.logged(Event.SESSION_OUTPUT)) == said


@pytest.mark.long
async def test_each_of_several_tasks_beats(tmp_path: Path):
    env = {**harness("waits", "/nowhere"), "MAX_CONCURRENT_TASKS": "3"}
    async with proxy_rig(tmp_path) as (rig, proxy), endless_worker(rig, env):
        ids = [await rig.submit(str(number)) for number in range(3)]
        await begun(rig, 3)
        # One that hangs does not keep the others from beating.
        proxy.hold(f"heartbeat/{ids[0]}", times=1000)
        counts = [len(proxy.seen(f"heartbeat/{task_id}")) for task_id in ids]
        await until(
            lambda: all(
                len(proxy.seen(f"heartbeat/{task_id}")) > count + 3
                for task_id, count in zip(ids, counts, strict=True)
            )
        )


async def test_a_restarted_api_neither_fails_nor_repeats_a_running_task(tmp_path: Path):
    # As on the public server, but quicker: what has not beaten since the restart is given up.
    sweeps = SweepSettings(first_after_s=1.5, every_s=60, reboot_skew_s=0)
    go_on = tmp_path / "go-on"
    env = {
        **harness("waits", go_on),
        "SWARM_HEARTBEAT_INTERVAL_S": "3",
        "SWARM_CANCEL_CHECK_INTERVAL_S": "1",
        "SWARM_POLL_INTERVAL_S": "2",
    }
    async with (
        restartable_rig(tmp_path, sweeps) as (rig, proxy, swarm),
        running_worker(rig, env),
    ):
        task_id = await rig.submit()
        await begun(rig)
        await swarm.stop()
        await until(lambda: rig.logged(Event.API_UNREACHABLE))
        await swarm.start()
        beats = len(proxy.seen(f"heartbeat/{task_id}"))
        await until(lambda: len(proxy.seen(f"heartbeat/{task_id}")) > beats)
        assert (await rig.task(task_id))["status"] == "in_progress"
        go_on.touch()
        assert (await rig.until_ended(task_id))["output"] == "done at last"
        assert len((await rig.get("/api/tasks"))["tasks"]) == 1


@pytest.mark.long
async def test_the_sweep_of_that_test_does_give_up_what_is_silent(tmp_path: Path):
    sweeps = SweepSettings(first_after_s=0.3, every_s=60, reboot_skew_s=0)
    env = {**harness("waits", "/nowhere"), "SWARM_HEARTBEAT_INTERVAL_S": "0.1"}
    async with restartable_rig(tmp_path, sweeps) as (rig, proxy, swarm):
        async with endless_worker(rig, env):
            task_id = await rig.submit()
            await begun(rig)
            proxy.refuse("heartbeat/", 503)
            await swarm.stop()
            await swarm.start()
            await rig.until_status(task_id, "failed")
            # Told of it, the worker lets go, and takes the retry that the server has made.
            proxy.be_open()
            await until(lambda: rig.logged(Event.TASK_LOST))
            await until(lambda: len(rig.logged(Event.SESSION_STARTED)) == 2)
        assert (await rig.task(task_id))["failureReason"].startswith("Auto-failed by reboot")


# --- rows that are lost
async def test_a_row_that_somebody_deleted_is_put_back(tmp_path: Path):
    go_on = tmp_path / "go-on"
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("waits", go_on)):
        task_id = await rig.submit()
        await begun(rig)
        (row,) = await rows(rig)
        await rig.api.delete(f"/api/active-sessions/by-task/{task_id}")
        assert await rows(rig) == []
        (again,) = await rig.until(lambda: rows(rig))
        assert (again["taskId"], again["runnerSessionId"]) == (task_id, row["runnerSessionId"])
        go_on.touch()
        assert (await rig.until_ended(task_id))["status"] == "completed"
        await rig.settled(task_id)


async def test_a_row_that_could_not_be_made_at_first_is_made_later(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, harness("waits", "/nowhere")),
    ):
        proxy.refuse("POST /api/active-sessions$", 500, times=2)
        task_id = await rig.submit()
        (row,) = await rig.until(lambda: rows(rig))
        assert row["taskId"] == task_id


async def test_a_row_of_an_earlier_life_is_replaced(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, harness("waits", "/nowhere")),
    ):
        held = proxy.hold("GET /api/poll")
        await held.reached.wait()
        task_id = await rig.submit()
        old = {"agentId": AGENT, "taskId": task_id, "triggerType": "x", "runnerSessionId": "old"}
        await rig.post("/api/active-sessions", old)
        held.open.set()
        await begun(rig)
        (row,) = await rows(rig)
        assert row["runnerSessionId"] != "old"


async def test_no_row_outlives_its_session(tmp_path: Path):
    """A beat that was on its way when the row was taken off must not put it back."""
    async with proxy_rig(tmp_path) as (rig, proxy):
        held = proxy.hold("PUT /api/active-sessions/heartbeat")
        go_on = tmp_path / "go-on"
        async with running_worker(rig, harness("waits", go_on)):
            await rig.post("/api/tasks", {"task": "offered", "offeredTo": AGENT})
            await held.reached.wait()
            deletion = proxy.hold("DELETE /api/active-sessions")
            go_on.touch()
            await deletion.reached.wait()
            deletion.open.set()
            await rig.until(lambda: _is_empty(rig))
            held.open.set()
            asked = len(proxy.seen("/api/poll"))
            await until(lambda: len(proxy.seen("/api/poll")) > asked + 3)
        assert await rows(rig) == []


async def _is_empty(rig: Rig) -> bool:
    return await rows(rig) == []


# --- tasks that are taken away
async def lost(rig: Rig, proxy: RecordingProxy, task_id: str) -> None:
    """Wait until the worker has let go of a task; it must not have said how it ended."""
    await until(lambda: rig.logged(Event.TASK_LOST))
    await until(lambda: tagged(rig.place) == [])
    await rig.settled(task_id)
    assert not proxy.seen(f"{task_id}/finish")


async def test_a_task_given_up_as_crashed_is_let_go(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, harness("waits", "/nowhere")),
    ):
        task_id = await rig.submit()
        await begun(rig)
        proxy.say("/api/poll", {"trigger": None})  # not the resume task
        await rig.post(f"/api/tasks/{task_id}/supersede", {"reason": "crash_recovery"})
        await rig.api.delete(f"/api/active-sessions/by-task/{task_id}")
        await lost(rig, proxy, task_id)
        task = await rig.task(task_id)
        assert (task["status"], task.get("output")) == ("superseded", None)
        assert (await until(lambda: rig.lines(task_id)))[0]["type"] == "system"


async def test_a_task_superseded_by_hand_is_let_go_although_its_row_is_there(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, harness("waits", "/nowhere"), clock=QuickClock(20)),
    ):
        task_id = await rig.submit()
        await begun(rig)
        proxy.say("/api/poll", {"trigger": None})
        await rig.post(f"/api/tasks/{task_id}/supersede", {"reason": "manual_supersede"})
        await lost(rig, proxy, task_id)
        assert (await rig.task(task_id))["status"] == "superseded"


@pytest.mark.long
async def test_an_agent_that_ended_its_task_itself_has_its_last_word(tmp_path: Path):
    go_on = tmp_path / "go-on"
    async with (
        swarm_rig(tmp_path) as rig,
        running_worker(rig, harness("waits", go_on), clock=QuickClock(20)),
    ):
        task_id = await rig.submit()
        await begun(rig)
        body = {"status": "completed", "output": "by the agent"}
        await rig.post(f"/api/tasks/{task_id}/finish", body, **{"X-Agent-ID": AGENT})
        await rig.api.delete(f"/api/active-sessions/by-task/{task_id}")
        await anyio.sleep(0.9)  # 18 s on its clock: time for several beats and a look at the task
        assert not rig.logged(Event.TASK_LOST)
        go_on.touch()
        await until(lambda: rig.logged(Event.TASK_FINISHED))
        assert (await rig.lines(task_id))[-1]["result"] == "done at last"
        assert (await rig.task(task_id))["output"] == "by the agent"
