"""Registering with the server, and refreshing that."""

from __future__ import annotations

from pathlib import Path

import pytest
from patience import until
from recording_proxy import QuickClock, SkippingClock, endless_worker, proxy_rig, restartable_rig
from rig import AGENT, harness, running_worker, swarm_rig

from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.boot.registration import REFRESH_S

pytestmark = pytest.mark.anyio


async def test_a_server_that_forgot_everything_is_told_again(tmp_path: Path):
    """Its database was reset, or somebody deleted the agent."""
    env = {**harness("says_hi"), "CAPABILITIES": "rust"}
    async with (
        restartable_rig(tmp_path) as (rig, _, swarm),
        running_worker(rig, env, role="lead"),
    ):
        await swarm.stop()
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"swarm.sqlite{suffix}").unlink(missing_ok=True)
        await swarm.start()
        agent = await rig.until(rig.agent_row)
        assert agent["isLead"]
        task_id = await rig.submit()
        assert (await rig.until_ended(task_id))["status"] == "completed"
        # Without these no work that is reserved for a role would ever come.
        agent = await rig.agent_row() or {}
        assert (agent["role"], agent["capabilities"]) == ("lead", ["rust"])


async def test_a_full_worker_notices_by_its_pings_that_it_was_forgotten(tmp_path: Path):
    env = {**harness("waits", "/nowhere"), "MAX_CONCURRENT_TASKS": "1"}
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, env, clock=QuickClock(50)),
    ):
        await rig.submit()
        await until(lambda: rig.logged(Event.SESSION_STARTED))
        proxy.refuse("POST /ping", 404, '{"error": "Agent not found"}', times=1)
        registered = len(proxy.seen("POST /api/agents$"))
        await until(lambda: len(proxy.seen("POST /api/agents$")) > registered)


async def test_pings_survive_an_api_that_fails(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("says_hi"), clock=QuickClock(200)),
    ):
        await until(lambda: proxy.seen("/api/poll"))
        proxy.refuse("POST /ping", 500, times=2)
        proxy.refuse("POST /ping", 200, "<html>", kind="text/html", times=2)
        pinged = len(proxy.seen("POST /ping"))
        await until(lambda: len(proxy.seen("POST /ping")) > pinged + 5)


@pytest.mark.long
async def test_each_registration_is_refreshed_before_a_server_with_runtimes_forgets_it(
    tmp_path: Path,
):
    clock = SkippingClock()
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("says_hi"), clock=clock),
    ):
        for skipped_s in (0, REFRESH_S / 2):
            clock.skip(skipped_s)
            looks = len(proxy.seen("config/resolved"))
            await until(lambda: len(proxy.seen("config/resolved")) > looks + 2)  # noqa: B023
        assert len(proxy.seen("POST /api/agents$")) == 1
        clock.skip(REFRESH_S / 2)
        await until(lambda: len(proxy.seen("POST /api/agents$")) >= 2)
        first, second = proxy.seen("POST /api/agents$")[:2]
        assert first.json() == second.json()
    assert REFRESH_S <= 5 * 60  # the server forgets a runtime a minute later


async def test_every_call_says_which_process_makes_it(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        ids = []
        for _ in range(2):
            proxy.visits.clear()
            async with running_worker(rig, harness("says_hi")):
                await rig.until_ended(await rig.submit())
            said = {
                (visit.headers.get("x-agent-id"), visit.headers.get("x-runtime-instance-id"))
                for visit in proxy.visits
            }
            ((agent_id, runtime_id),) = said
            assert agent_id == AGENT
            (registration,) = proxy.seen("POST /api/agents$")
            assert registration.json()["runtimeInstanceId"] == runtime_id
            rows = proxy.seen("POST /api/active-sessions$")  # a beat may have put it there again
            assert {row.json()["runtimeInstanceId"] for row in rows} == {runtime_id}
            ids.append(runtime_id)
        assert ids[0] != ids[1]


@pytest.mark.parametrize(("role", "slots"), [("worker", 1), ("lead", 2)])
async def test_what_is_registered(tmp_path: Path, role: str, slots: int):
    async with swarm_rig(tmp_path) as rig:
        env = {**harness("says_hi"), "AGENT_NAME": ""}
        async with running_worker(rig, env, role=role):
            agent = await rig.agent_row() or {}
            assert (agent["name"], agent["maxTasks"]) == (f"{role}-{AGENT[:8]}", slots)
            assert agent["isLead"] is (role == "lead")
