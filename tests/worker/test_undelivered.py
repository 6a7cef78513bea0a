"""A result that is still on its way when the worker starts is not worked for a second time."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest
from door import door_rig, until
from rig import Rig, harness, running_worker
from worker_process import worker_process

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio


async def rows_of(rig: Rig, task_id: str) -> int:
    rows = (await rig.get("/api/active-sessions"))["sessions"]
    return sum(row.get("taskId") == task_id for row in rows)


async def test_it_holds_its_slot_and_beats_until_it_has_arrived(tmp_path: Path):
    async with door_rig(tmp_path) as (rig, door):
        # Words alone: the server knows no session of the harness, so it would put the task back.
        env = {**rig.env, **rig.prints(b"plain words"), "HARNESS_OUTPUT": "text"}
        door.refuse("/finish", 503)
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await until(lambda: door.seen("/finish"))
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        door.be_open()
        held = door.hold("/finish", times=100)
        # It puts back every task that has neither a session of a harness nor a row.
        orphans = door.hold("recover-orphaned-tasks")
        started = len(door.seen("/api/poll"))
        async with running_worker(rig, harness("says_hi"), waits_for_boot=False):
            await held.reached.wait()
            await orphans.reached.wait()
            assert await rows_of(rig, task_id) == 1
            orphans.open.set()
            beats = len(door.seen("heartbeat/"))
            await until(lambda: len(door.seen("heartbeat/")) >= beats + 3)
            other = await rig.submit()
            assert not rig.logged(Event.TASK_STARTED)  # there is one slot
            assert len(door.seen("/api/poll")) == started
            held.open.set()
            door.be_open()
            task = await rig.until_ended(task_id)
            assert (task["status"], task["output"]) == ("completed", "plain words")
            assert (await rig.until_ended(other))["status"] == "completed"
        assert len(rig.logged(Event.TASK_STARTED)) == 1
        assert not rig.logged(Event.TASK_RECOVERED)


@pytest.mark.long
async def test_a_worker_that_leaves_meanwhile_leaves_it_to_the_next(tmp_path: Path):
    async with door_rig(tmp_path) as (rig, door):
        door.refuse("/finish", 503)
        async with running_worker(rig, harness("says_hi"), drain_ms=1000):
            task_id = await rig.submit()
            await until(lambda: door.seen("/finish"))
        for _ in range(2):
            with anyio.fail_after(10):
                async with running_worker(rig, harness("says_hi"), drain_ms=1000):
                    pass
        door.be_open()
        async with running_worker(rig, harness("says_hi")):
            assert (await rig.until_ended(task_id))["output"] == "hi there"
        assert len(rig.logged(Event.TASK_STARTED)) == 1
