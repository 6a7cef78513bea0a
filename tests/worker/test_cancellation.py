"""A cancelled task is ended soon in any state, and keeps its status."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from patience import HANG_S, until
from recording_proxy import RecordingProxy, endless_worker, proxy_rig
from rig import Rig, harness, running_worker, swarm_rig
from worker_process import tagged

from agent_swarm_worker.logs import Event
from agent_swarm_worker.processes import procfs

pytestmark = pytest.mark.anyio

DEFAULTS = {"SWARM_CANCEL_CHECK_INTERVAL_S": "1", "SWARM_HEARTBEAT_INTERVAL_S": "3"}


async def cancel(rig: Rig, task_id: str) -> None:
    await rig.post(f"/api/tasks/{task_id}/cancel", {"reason": "changed my mind"})


async def stays_cancelled(rig: Rig, task_id: str) -> None:
    await rig.settled(task_id)
    task = await rig.task(task_id)
    assert (task["status"], task["failureReason"]) == ("cancelled", "changed my mind")
    assert task.get("output") is None


@pytest.mark.long
async def test_a_running_session_is_stopped_within_two_seconds(tmp_path: Path):
    env = {**harness("waits", "/nowhere"), **DEFAULTS}
    async with proxy_rig(tmp_path) as (rig, proxy), endless_worker(rig, env):
        task_id = await rig.submit()
        await until(lambda: rig.logged(Event.SESSION_STARTED))
        await cancel(rig, task_id)
        await until(lambda: rig.logged(Event.SESSION_ENDED))
        assert tagged(tmp_path) == []
        await stays_cancelled(rig, task_id)
        assert not proxy.seen("/finish|/supersede")
        # What was said until then is told all the same.
        kinds = [line["type"] for line in await rig.lines(task_id)]
        assert kinds[:2] == ["system", "assistant"]


async def test_a_cancelled_task_is_not_finished_even_if_it_cannot_be_looked_at(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, harness("waits", "/nowhere")),
    ):
        task_id = await rig.submit()
        await until(lambda: rig.logged(Event.SESSION_STARTED))
        proxy.refuse("GET /api/tasks/", 503)
        await cancel(rig, task_id)
        await stays_cancelled(rig, task_id)
        assert not proxy.seen("/finish|/supersede")


async def test_only_the_cancelled_one_of_several_is_stopped(tmp_path: Path):
    go_on = tmp_path / "go-on"
    env = {**harness("waits", go_on), "MAX_CONCURRENT_TASKS": "2"}
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        first, second = await rig.submit("one"), await rig.submit("two")
        await until(lambda: len(rig.logged(Event.SESSION_STARTED)) == 2)
        await cancel(rig, first)
        await until(lambda: rig.logged(Event.SESSION_ENDED))
        await stays_cancelled(rig, first)
        go_on.touch()
        assert (await rig.until_ended(second))["output"] == "done at last"


@pytest.mark.long
async def test_a_check_that_hangs_holds_up_no_other(tmp_path: Path):
    env = {**harness("waits", "/nowhere"), "MAX_CONCURRENT_TASKS": "2"}
    async with proxy_rig(tmp_path) as (rig, proxy), endless_worker(rig, env):
        first, second = await rig.submit("one"), await rig.submit("two")
        await until(lambda: len(rig.logged(Event.SESSION_STARTED)) == 2)
        held = proxy.hold(f"cancelled-tasks.taskId={first}")
        await held.reached.wait()
        await cancel(rig, second)
        await until(lambda: rig.logged(Event.TASK_CANCELLED))
        held.open.set()
        await cancel(rig, first)
        await stays_cancelled(rig, first)


async def test_a_slow_prompt_does_not_keep_a_cancelled_task_alive(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("says_hi")):
        held = proxy.hold("prompt-templates/render", times=100)
        task_id = await rig.submit()
        await held.reached.wait()
        await cancel(rig, task_id)
        await stays_cancelled(rig, task_id)
        assert not rig.logged(Event.SESSION_STARTED)
        assert not proxy.seen("/finish")
        held.open.set()
        proxy.be_open()
        assert (await rig.until_ended(await rig.submit("next")))["status"] == "completed"


async def test_a_slow_clone_is_stopped(tmp_path: Path):
    came: list[SocketStream] = []

    async def keep(stream: SocketStream) -> None:
        came.append(stream)
        async with stream:
            await anyio.sleep_forever()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as silent,
        anyio.create_task_group() as group,
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("says_hi")),
    ):
        group.start_soon(silent.serve, keep)
        url = f"http://127.0.0.1:{silent.extra(SocketAttribute.local_port)}/o/r.git"
        await rig.post("/api/repos", {"url": url, "name": "r", "clonePath": str(tmp_path / "r")})
        for count in (1, 2):  # the second time the clone's lock must be free again
            task_id = await _submit_for(rig, proxy, "o/r")
            await until(lambda wanted=count: len(came) == wanted)
            await cancel(rig, task_id)
            await stays_cancelled(rig, task_id)
            await until(lambda: not _running_with(url))
        assert not rig.logged(Event.SESSION_STARTED)
        group.cancel_scope.cancel()


async def _submit_for(rig: Rig, proxy: RecordingProxy, repository: str) -> str:
    """Submit a task that works on a repository; only a change of a task can say so."""
    held = proxy.hold("GET /api/poll")
    await held.reached.wait()
    task_id = await rig.submit()
    link = {"vcsProvider": "github", "vcsRepo": repository, "vcsNumber": 1, "vcsUrl": "http://x/"}
    (await rig.api.patch(f"/api/tasks/{task_id}/vcs", json=link)).raise_for_status()
    held.open.set()
    return task_id


def _running_with(word: str) -> list[str]:
    return [
        line
        for info in procfs.snapshot().values()
        if not info.is_dead and word in (line := procfs.command_line(info.pid))
    ]


async def test_a_task_cancelled_before_it_is_announced_does_not_begin(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("says_hi")):
        held = proxy.hold("POST /api/active-sessions$")
        task_id = await rig.submit()
        await held.reached.wait()
        await cancel(rig, task_id)
        await until(lambda: rig.logged(Event.TASK_CANCELLED))
        held.open.set()
        await stays_cancelled(rig, task_id)
        assert not rig.logged(Event.SESSION_STARTED)


async def test_a_result_that_crosses_a_cancellation_overwrites_nothing(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("says_hi")):
        held = proxy.hold("/finish")
        task_id = await rig.submit()
        await held.reached.wait()
        await cancel(rig, task_id)
        held.open.set()
        await stays_cancelled(rig, task_id)
        assert len(proxy.seen("/finish")) == 1


@pytest.mark.long
async def test_a_check_that_fails_is_made_again(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, harness("waits", "/nowhere")),
    ):
        task_id = await rig.submit()
        await until(lambda: rig.logged(Event.SESSION_STARTED))
        proxy.refuse("cancelled-tasks", 500, times=2)
        proxy.refuse("cancelled-tasks", 200, "[]", times=2)
        await cancel(rig, task_id)
        await until(lambda: rig.logged(Event.SESSION_ENDED))
        await stays_cancelled(rig, task_id)


async def test_a_task_cancelled_during_the_drain_is_not_handed_back(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = harness("waits", "/nowhere")
        async with running_worker(rig, env, drain_ms=60_000) as daemon:
            task_id = await rig.submit()
            await until(lambda: rig.logged(Event.SESSION_STARTED))
            begin_s = time.monotonic()
            daemon.shutdown.request("test")
            await cancel(rig, task_id)
        assert time.monotonic() - begin_s < HANG_S
        await stays_cancelled(rig, task_id)
        assert not proxy.seen("/supersede|/finish")


async def test_a_task_cancelled_while_it_is_handed_back_stays_cancelled(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = harness("waits", "/nowhere")
        async with running_worker(rig, env, drain_ms=3000) as daemon:
            task_id = await rig.submit()
            await until(lambda: rig.logged(Event.SESSION_STARTED))
            held = proxy.hold("/supersede")
            daemon.shutdown.request("test")
            daemon.shutdown.request("now")
            await held.reached.wait()
            await cancel(rig, task_id)
            held.open.set()
        await stays_cancelled(rig, task_id)
        assert len((await rig.get("/api/tasks"))["tasks"]) == 1
