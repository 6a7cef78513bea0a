"""Failures known from other workers that belong to no single module here.

The rest of that list lies with the rooms it concerns; docs/failures.md says where.
"""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest
from patience import until
from recording_proxy import QuickClock, endless_worker, proxy_rig
from rig import harness, running_worker, swarm_rig
from test_credential_wait import TOKEN, claude, until_waiting
from worker_process import worker_process

from agent_swarm_worker.errors import ApiRefused
from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio


async def test_an_agent_id_the_server_refuses_ends_the_start_with_its_reason(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        reason = "Invalid agent id: expected a UUID"
        proxy.refuse("POST /api/agents", 400, f'{{"error": "{reason}"}}')
        with pytest.RaisesGroup(pytest.RaisesExc(ApiRefused, match=reason), flatten_subgroups=True):
            async with running_worker(rig, {**harness("says_hi"), "AGENT_ID": "bob"}):
                raise AssertionError("it started")


async def test_a_registration_after_the_wait_is_tried_five_times_and_then_ends_the_start(
    tmp_path: Path,
):
    async with proxy_rig(tmp_path) as (rig, proxy):
        with pytest.RaisesGroup(
            pytest.RaisesExc(ApiRefused, check=lambda error: error.exit_code == 1),
            flatten_subgroups=True,
        ):
            async with running_worker(rig, claude(), waits_for_boot=False, clock=QuickClock(20)):
                await until_waiting(rig)
                before = len(proxy.seen("POST /api/agents$"))
                proxy.refuse("POST /api/agents$", 503)
                await rig.set_row("ANTHROPIC_API_KEY", TOKEN, is_secret=True)
                await anyio.sleep(15)
        assert len(proxy.seen("POST /api/agents$")) == before + 5


@pytest.mark.long
async def test_no_call_of_ours_undoes_that_a_poll_made_the_agent_busy(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, harness("waits", "/nowhere"), clock=QuickClock(30)),
    ):
        await rig.submit()
        await until(lambda: rig.logged(Event.SESSION_STARTED))
        pinged = len(proxy.seen("POST /ping"))
        await until(lambda: len(proxy.seen("POST /ping")) > pinged + 3)
        assert (await rig.agent_row() or {})["status"] == "busy"
        first_beat = proxy.names().index(next(n for n in proxy.names() if "heartbeat/" in n))
        # Each of these would call a working agent idle.
        since = [visit.name for visit in proxy.visits[first_beat:]]
        assert not [name for name in since if "credential-status" in name or "/profile" in name]


@pytest.mark.long
async def test_a_superseded_task_is_not_begun_again_by_the_worker_itself(tmp_path: Path):
    """Going on is the server's decision: it counts how often, and ends a circle."""
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, harness("waits", "/nowhere"), clock=QuickClock(20)),
    ):
        task_id = await rig.submit()
        await rig.until(lambda: rig.logs(task_id))
        proxy.say("/api/poll", {"trigger": None})
        await rig.post(f"/api/tasks/{task_id}/supersede", {"reason": "manual_supersede"})
        await until(lambda: rig.logged(Event.TASK_LOST))
        await rig.settled(task_id)
        polls = len(proxy.seen("/api/poll"))
        await until(lambda: len(proxy.seen("/api/poll")) > polls + 20)
        assert len(rig.logged(Event.TASK_STARTED)) == 1
        assert not proxy.seen("POST /api/tasks$")


@pytest.mark.parametrize("steering", ["false", "true"])
async def test_cancelling_works_with_and_without_steering(tmp_path: Path, steering: str):
    env = harness("waits", "/nowhere", STEERING_ENABLED=steering)
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        task_id = await rig.submit()
        await rig.until(lambda: rig.logs(task_id))
        await rig.post(f"/api/tasks/{task_id}/cancel")
        await rig.settled(task_id)
        assert (await rig.task(task_id))["status"] == "cancelled"


@pytest.mark.long
async def test_many_tasks_leave_the_worker_no_larger(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = {**rig.env, **harness("counts", 100), "MAX_CONCURRENT_TASKS": "8"}
        async with worker_process(tmp_path, env | {"SWARM_LOG_LEVEL": "info"}) as worker:

            async def run(number: int) -> None:
                ids = [await rig.submit(f"task {n}") for n in range(number)]
                for task_id in ids:
                    assert (await rig.until_ended(task_id))["status"] == "completed"
                    await rig.settled(task_id)

            await run(16)
            before_kb = resident_kb(worker.pid)
            await run(32)
            # 3,200 lines were reported meanwhile; keeping them, or a task's parts, would show.
            assert resident_kb(worker.pid) - before_kb < 3_000


def resident_kb(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
