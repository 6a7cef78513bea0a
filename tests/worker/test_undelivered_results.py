"""A task whose result is undelivered at the start is not done a second time."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from patience import HANG_S, until
from recording_proxy import proxy_rig
from rig import AGENT, Rig, harness, running_worker
from worker_process import worker_process

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio


async def rows_of(rig: Rig, task_id: str) -> int:
    rows = (await rig.get("/api/active-sessions"))["sessions"]
    return sum(row.get("taskId") == task_id for row in rows)


@pytest.mark.long
async def test_it_holds_its_slot_and_beats_until_it_has_arrived(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        # Words alone: the server knows no session of the harness, so it would put the task back.
        env = {**rig.env, **rig.prints(b"plain words"), "HARNESS_OUTPUT": "text"}
        proxy.refuse("/finish", 503)
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await until(lambda: proxy.seen("/finish"))
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        proxy.be_open()
        held = proxy.hold("/finish", times=100)
        # It puts back every task that has neither a session of a harness nor a row.
        orphans = proxy.hold("recover-orphaned-tasks")
        started = len(proxy.seen("/api/poll"))
        async with running_worker(rig, harness("says_hi"), waits_for_boot=False):
            await held.reached.wait()
            await orphans.reached.wait()
            assert await rows_of(rig, task_id) == 1
            orphans.open.set()
            beats = len(proxy.seen("heartbeat/"))
            await until(lambda: len(proxy.seen("heartbeat/")) >= beats + 3)
            other = await rig.submit()
            assert not rig.logged(Event.TASK_STARTED)  # there is one slot
            assert len(proxy.seen("/api/poll")) == started
            held.open.set()
            proxy.be_open()
            task = await rig.until_ended(task_id)
            assert (task["status"], task["output"]) == ("completed", "plain words")
            assert (await rig.until_ended(other))["status"] == "completed"
        assert len(rig.logged(Event.TASK_STARTED)) == 1
        assert not rig.logged(Event.TASK_RECOVERED)


@pytest.mark.parametrize("ends", [True, pytest.param(False, marks=pytest.mark.long)])
async def test_what_could_not_be_asked_at_the_start_is_asked_again(tmp_path: Path, ends: bool):
    """Whether the task of a killed worker is still ours; nobody else gets it meanwhile."""
    async with proxy_rig(tmp_path) as (rig, proxy):
        agent = harness("says_hi") if ends else harness("waits", tmp_path / "never")
        async with worker_process(tmp_path, {**rig.env, **agent}) as worker:
            task_id = await rig.submit()
            look = f"GET /api/tasks/{task_id}$"
            await worker.until_logged(Event.SESSION_STARTED)
            held = proxy.hold(look, times=1000)
            if ends:
                await worker.until_logged(Event.SESSION_ENDED)
                await held.reached.wait()
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
            proxy.be_open()
            held.open.set()
            proxy.refuse(look, 500)
            async with running_worker(rig, harness("says_hi")):
                looks, beats = len(proxy.seen(look)), len(proxy.seen(f"heartbeat/{task_id}"))
                await until(lambda: len(proxy.seen(look)) > looks)
                await until(lambda: len(proxy.seen(f"heartbeat/{task_id}")) > beats)
                assert await rows_of(rig, task_id) == 1
                assert not rig.logged(Event.TASK_STARTED)
                proxy.be_open()
                task = await rig.until_ended(task_id)
                assert task["status"] == ("completed" if ends else "superseded")
                await rig.settled(task_id)
        assert len(proxy.seen("/supersede")) == (not ends)
        assert len(rig.logged(Event.TASK_STARTED)) <= (not ends)
        with closing(sqlite3.connect(tmp_path / "state" / AGENT / "worker.sqlite")) as state:
            assert state.execute("SELECT task_id FROM claims").fetchall() == []


@pytest.mark.long
async def test_a_worker_that_leaves_before_it_could_ask_leaves_it_to_the_next(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        async with worker_process(tmp_path, {**rig.env, **harness("says_hi")}) as worker:
            task_id = await rig.submit()
            look = f"GET /api/tasks/{task_id}$"
            held = proxy.hold(look, times=1000)
            await held.reached.wait()
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        proxy.be_open()
        held.open.set()
        proxy.refuse(look, 500)
        with anyio.fail_after(HANG_S):
            async with running_worker(rig, harness("says_hi"), drain_ms=60_000):
                looks = len(proxy.seen(look))
                await until(lambda: len(proxy.seen(look)) > looks)
        proxy.be_open()
        async with running_worker(rig, harness("says_hi")):
            assert (await rig.until_ended(task_id))["output"] == "hi there"
        assert not rig.logged(Event.TASK_STARTED)


@pytest.mark.long
async def test_a_worker_that_leaves_meanwhile_leaves_it_to_the_next(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("/finish", 503)
        async with running_worker(rig, harness("says_hi"), drain_ms=1000):
            task_id = await rig.submit()
            await until(lambda: proxy.seen("/finish"))
        for _ in range(2):
            with anyio.fail_after(HANG_S):
                async with running_worker(rig, harness("says_hi"), drain_ms=1000):
                    pass
        proxy.be_open()
        async with running_worker(rig, harness("says_hi")):
            assert (await rig.until_ended(task_id))["output"] == "hi there"
        assert len(rig.logged(Event.TASK_STARTED)) == 1
