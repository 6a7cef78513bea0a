"""A server of an earlier generation: missing routes are left out, and tasks are done."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from patience import until
from recording_proxy import RecordingProxy, endless_worker, proxy_rig
from rig import harness, running_worker
from worker_process import worker_process

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

NEWER = (
    "/supersede",
    "steering-messages",
    "/api/keys/",
    "credential-status",
    "/api/fs/",
    "active-sessions/heartbeat",
    "active-sessions/provider-session",
    "active-sessions/recover",
    "/api/tasks/[^/]+/session$",
    "prompt-templates/render",
    "/activity",
    "/skills",
    "/mcp-servers",
    "/memory/search",
    "heartbeat/sweep",
    "events",
)
STILL_OLDER = ("active-sessions", "/profile", "GET /me", "paused-tasks", "config/", "cancelled-")


def make_older(proxy: RecordingProxy, *more: str) -> None:
    """Take the newer routes off; the one for sessions has its old name."""
    proxy.lack(*NEWER, *more)
    proxy.aliases["/claude-session"] = "/session"


@pytest.mark.parametrize("more", [(), STILL_OLDER], ids=["older", "oldest"])
async def test_a_whole_task_is_done(tmp_path: Path, more: tuple[str, ...]):
    async with proxy_rig(tmp_path) as (rig, proxy):
        make_older(proxy, *more)
        env = {**harness("says_hi"), "STEERING_ENABLED": "true", "SWARM_SYNC_SKILLS": "true"}
        async with running_worker(rig, env, role="lead"):
            task_id = await rig.submit()
            task = await rig.until_ended(task_id)
            assert (task["status"], task["output"]) == ("completed", "hi there")
            assert task["claudeSessionId"] == "s-1"
            await until(lambda: proxy.seen("session-costs"))
            assert len(await rig.costs(task_id)) == 1
            assert len(await rig.lines(task_id)) == 5
        lacking = [line["feature"] for line in rig.logged(Event.FEATURE_OFF)]
        assert sorted(lacking) == sorted(set(lacking))
        assert not rig.logged(Event.WRITE_DROPPED)


async def test_what_is_not_there_is_not_asked_for_again_and_again(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        make_older(proxy)
        env = {**harness("waits", "/nowhere"), "STEERING_ENABLED": "true"}
        async with endless_worker(rig, env):
            await rig.submit()
            await until(lambda: rig.logged(Event.SESSION_STARTED))
            checks = len(proxy.seen("cancelled-tasks"))
            await until(lambda: len(proxy.seen("cancelled-tasks")) > checks + 8)
            for route in ("heartbeat/", "steering-messages", "render", "credential-status"):
                assert len(proxy.seen(route)) <= 1, route


async def test_a_shutdown_pauses_and_the_next_start_goes_on(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        make_older(proxy)
        late = proxy.hold("/progress")
        env = harness("loops", 3000, "news", "stays")
        async with running_worker(rig, env, drain_ms=10_000) as daemon:
            task_id = await rig.submit()
            await late.reached.wait()
            for why in ("test", "hurry"):
                daemon.shutdown.request(why)
            await anyio.sleep(0.5)
            assert not proxy.seen("/pause$")
            late.open.set()
        # Had the progress come after the pause, it would have brought the task back to life.
        assert (await rig.task(task_id))["status"] == "paused"
        names = proxy.names()
        assert names.index(f"POST /api/tasks/{task_id}/pause") < names.index("POST /close")
        async with running_worker(rig, harness("says_hi")):
            task = await rig.until_ended(task_id)
            assert (task["status"], task["output"]) == ("completed", "hi there")


async def test_a_crash_pauses_and_the_same_start_goes_on(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        make_older(proxy)
        async with worker_process(tmp_path, {**rig.env, **harness("deaf")}) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=2)
            worker.signal(9)
            await worker.exit_code()
        async with running_worker(rig, harness("says_hi")):
            task = await rig.until_ended(task_id)
            assert (task["status"], task["output"]) == ("completed", "hi there")


async def test_without_supersede_and_pause_a_task_fails_and_says_why(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        make_older(proxy, "/pause")
        async with running_worker(rig, harness("waits", "/nowhere"), drain_ms=1500):
            task_id = await rig.submit()
            await until(lambda: rig.logged(Event.SESSION_STARTED))
        task = await rig.task(task_id)
        assert task["status"] == "failed"
        assert "graceful_shutdown" in task["failureReason"]


async def test_a_trigger_of_older_servers_says_that_there_is_work_in_the_pool(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("says_hi")):
        proxy.say("/api/poll", {"trigger": {"type": "pool_tasks_available", "count": 2}}, times=1)
        await until(lambda: rig.logged(Event.SESSION_ENDED))
        assert not proxy.seen("/finish|/progress")
