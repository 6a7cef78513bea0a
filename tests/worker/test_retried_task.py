"""A retry of a task whose result is on this disk is finished with it, and not run again."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from patience import until
from recording_proxy import RecordingProxy, proxy_rig
from rig import AGENT, Rig, harness, running_worker
from test_recovery import children_of
from worker_process import worker_process

from agent_swarm_worker.local_swarm.sweeps import SweepSettings, reboot_sweep, sweep
from agent_swarm_worker.local_swarm.tables import TASKS
from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

LONG = pytest.mark.long
OUTBOX, JOURNAL = "/finish", "GET /api/tasks/[^/]+(\\?|$)"
"""What the API does not answer: where the result is then when the worker is killed."""
LOST = SweepSettings(no_session_s=0, stale_heartbeat_s=0)


def sweep_as_after_a_reboot(proxy: RecordingProxy) -> None:
    store = proxy.stores[-1]
    with store.transaction():
        reboot_sweep(store, store.ahead(60))


def sweep_lost_sessions(proxy: RecordingProxy) -> None:
    store = proxy.stores[-1]
    with store.transaction():
        store.run("DELETE FROM active_sessions")
        sweep(store, LOST)


async def killed_with_a_result(
    rig: Rig, proxy: RecordingProxy, env: dict[str, str], *, at: str
) -> str:
    """Kill a worker whose session has ended, while the API does not answer `at`.

    It reads a task at the claim, and again before its result is put into the outbox.
    """
    kept = None
    if "finish" in at:
        proxy.refuse(at, 503)
    else:
        proxy.refuse(at, 503, times=1)
        kept = proxy.hold(at)
    async with worker_process(rig.place, {**rig.env, **env}) as worker:
        task_id = await rig.submit()
        await worker.until_logged(Event.SESSION_ENDED)
        await until(lambda: proxy.seen(at))
        if kept is None:
            await worker.until_logged(Event.TASK_FINISHED)
        else:
            await kept.reached.wait()
        worker.signal(signal.SIGKILL)
        await worker.exit_code()
    if kept is not None:
        kept.open.set()
    return task_id


async def only_child(rig: Rig, task_id: str) -> dict[str, Any]:
    (child,) = await children_of(rig, task_id)
    assert child["agentId"] == AGENT
    return child


@pytest.mark.long
@pytest.mark.parametrize(
    ("swept", "at"),
    [
        pytest.param(sweep_as_after_a_reboot, OUTBOX, id="reboot-outbox"),
        pytest.param(sweep_lost_sessions, JOURNAL, id="lost-journal"),
        pytest.param(sweep_as_after_a_reboot, JOURNAL, id="reboot-journal", marks=LONG),
        pytest.param(sweep_lost_sessions, OUTBOX, id="lost-outbox", marks=LONG),
    ],
)
async def test_it_gets_the_result_and_no_second_cost(tmp_path: Path, at: str, swept: Any):
    async with proxy_rig(tmp_path) as (rig, proxy):
        task_id = await killed_with_a_result(rig, proxy, harness("says_hi"), at=at)
        proxy.be_open()
        swept(proxy)
        child = await only_child(rig, task_id)
        async with running_worker(rig, harness("says_hi")):
            ended = await rig.until_ended(child["id"])
            await rig.settled(child["id"])
            assert (ended["status"], ended["output"]) == ("completed", "hi there")
        assert not rig.logged(Event.SESSION_STARTED)
        assert len(await rig.costs(task_id)) == 1
        assert await rig.costs(child["id"]) == []
        assert (await rig.lines(task_id))[-1]["type"] == "late_result"
        assert await children_of(rig, child["id"]) == []


async def test_it_is_found_although_a_secret_equals_a_word_of_the_protocol(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        rig.env["DB_PASSWORD"] = "result"
        env = harness("says_hi")
        task_id = await killed_with_a_result(rig, proxy, env, at="GET /api/tasks/[^/]+(\\?|$)")
        (journal,) = tmp_path.glob("state/*/logs/*/*.jsonl")
        assert b"result" not in journal.read_bytes().split(b"\n", 1)[1]
        proxy.be_open()
        async with running_worker(rig, env):
            assert (await rig.until_ended(task_id))["output"] == "hi there"
        assert not rig.logged(Event.SESSION_STARTED)


@pytest.mark.long
async def test_a_failure_is_a_result_as_well(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = rig.prints([{"type": "result", "is_error": True}], code=1)
        task_id = await killed_with_a_result(rig, proxy, env, at="/finish")
        proxy.be_open()
        sweep_as_after_a_reboot(proxy)
        child = await only_child(rig, task_id)
        async with running_worker(rig, harness("says_hi")):
            ended = await rig.until_ended(child["id"])
        assert ended["status"] == "failed"
        assert ended["failureReason"] == "The command reported an error"


@pytest.mark.long
async def test_a_result_that_was_refused_is_known_to_a_later_start(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        task_id = await killed_with_a_result(rig, proxy, harness("says_hi"), at="/finish")
        proxy.be_open()
        sweep_as_after_a_reboot(proxy)
        proxy.say("/api/poll", {"trigger": None})
        async with running_worker(rig, harness("says_hi")):
            await until(lambda: proxy.seen(f"{task_id}/finish")[-1].status == 409)
            await rig.settled(task_id)
        proxy.be_open()
        child = await only_child(rig, task_id)
        async with running_worker(rig, harness("says_hi")):
            assert (await rig.until_ended(child["id"]))["output"] == "hi there"
        assert not rig.logged(Event.SESSION_STARTED)


@pytest.mark.long
async def test_a_retry_of_a_retry_gets_the_first_result(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        task_id = await killed_with_a_result(rig, proxy, harness("says_hi"), at="/finish")
        sweep_as_after_a_reboot(proxy)
        child = await only_child(rig, task_id)
        env = {**rig.env, **harness("says_hi"), "MAX_CONCURRENT_TASKS": "2"}
        async with worker_process(tmp_path, env) as worker:
            await until(lambda: proxy.seen(f"{child['id']}/finish"))
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        proxy.be_open()
        sweep_as_after_a_reboot(proxy)
        grandchild = await only_child(rig, child["id"])
        async with running_worker(rig, harness("says_hi")):
            assert (await rig.until_ended(grandchild["id"]))["output"] == "hi there"
        assert not rig.logged(Event.SESSION_STARTED)
        assert len(await rig.costs(task_id)) == 1


@pytest.mark.long
async def test_a_retry_that_was_lost_before_it_ran_is_passed_over(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        task_id = await killed_with_a_result(rig, proxy, harness("says_hi"), at="/finish")
        proxy.be_open()
        sweep_as_after_a_reboot(proxy)
        child = await only_child(rig, task_id)
        store = proxy.stores[-1]
        with store.transaction():
            store.update(TASKS, child["id"], status="in_progress")
        sweep_as_after_a_reboot(proxy)
        grandchild = await only_child(rig, child["id"])
        async with running_worker(rig, harness("says_hi")):
            assert (await rig.until_ended(grandchild["id"]))["output"] == "hi there"
        assert not rig.logged(Event.SESSION_STARTED)


@pytest.mark.long
async def test_without_a_known_result_it_runs_and_the_reason_is_logged(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        async with worker_process(tmp_path, {**rig.env, **harness("deaf")}) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=2)
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        sweep_as_after_a_reboot(proxy)
        child = await only_child(rig, task_id)
        async with running_worker(rig, harness("says_hi")):
            assert (await rig.until_ended(child["id"]))["status"] == "completed"
        assert len(rig.logged(Event.SESSION_STARTED)) == 1
        (line,) = (each for each in rig.logged(Event.TASK_RECOVERED) if each["task"] == child["id"])
        assert line["why"] == "it runs again: no result of its parent is known here"
