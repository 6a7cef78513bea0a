"""Shutdown: no new tasks; sessions finish, or are handed back in time."""

from __future__ import annotations

import importlib
import signal
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from patience import HANG_S, until
from recording_proxy import RecordingProxy, proxy_rig, restartable_rig
from rig import AGENT, Rig, harness, running_worker
from worker_process import tagged, worker_process

from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.boot.sequence import DEFERRED_MODULES

pytestmark = pytest.mark.anyio

LADDER_S = 6.0
"""Less than the escalation of signals takes that is not to be waited for."""


async def resume_of(rig: Rig, task_id: str) -> dict[str, Any] | None:
    rows = (await rig.get("/api/tasks", fields="full", limit=100))["tasks"]
    found = [row for row in rows if row.get("parentTaskId") == task_id]
    assert len(found) <= 1
    return found[0] if found else None


def index(proxy: RecordingProxy, name: str) -> int:
    """Where a request came in the order of all; each of those asked for comes once."""
    (visit,) = proxy.seen(name)
    return proxy.visits.index(visit)


# --- the first signal
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
async def test_the_first_signal_stops_polling_and_lets_the_session_finish(
    tmp_path: Path, number: int
):
    async with proxy_rig(tmp_path) as (rig, proxy):
        go_on = tmp_path / "go-on"
        env = {**rig.env, **harness("waits", go_on), "MAX_CONCURRENT_TASKS": "2"}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_STARTED)
            worker.signal(number)
            await worker.until_logged(Event.WORKER_DRAINING)
            polls = len(proxy.seen("/api/poll"))
            late_id = await rig.submit("Too late")
            await anyio.sleep(0.3)
            assert len(proxy.seen("/api/poll")) <= polls + 1  # one may have been on its way
            assert (await rig.task(late_id))["status"] == "pending"
            # What runs on is looked after as before.
            beats = len(proxy.seen("active-sessions/heartbeat"))
            await until(lambda: len(proxy.seen("active-sessions/heartbeat")) > beats + 1)
            go_on.touch()
            assert await worker.exit_code() == 0
        assert (await rig.task(task_id))["output"] == "done at last"
        assert not proxy.seen("supersede")
        assert index(proxy, f"POST /api/tasks/{task_id}/finish") < index(proxy, "POST /close")
        assert await resume_of(rig, task_id) is None


async def test_an_idle_worker_goes_at_once(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        async with running_worker(rig, harness("says_hi"), drain_ms=60_000) as daemon:
            await until(lambda: len(proxy.seen("/api/poll")) > 2)
            begin_s = time.monotonic()
            daemon.shutdown.request("test")
        assert time.monotonic() - begin_s < HANG_S
        assert proxy.names()[-1] == "POST /close"


async def test_a_task_the_last_poll_brings_is_handed_back(tmp_path: Path):
    for name in DEFERRED_MODULES:  # which take seconds on a busy machine, longer than the drain
        importlib.import_module(name)
    async with proxy_rig(tmp_path) as (rig, proxy):
        held = proxy.hold_answer("GET /api/poll", containing=b"task_assigned")
        async with running_worker(rig, harness("says_hi"), drain_ms=60_000) as daemon:
            task_id = await rig.submit()
            await held.reached.wait()
            daemon.shutdown.request("test")
            await anyio.sleep(0.2)
            assert not proxy.seen("POST /close")
            held.open.set()
        assert (await rig.task(task_id))["status"] == "superseded"
        resume = await resume_of(rig, task_id) or {}
        assert (resume["status"], resume["agentId"]) == ("pending", AGENT)
        assert index(proxy, "supersede") < index(proxy, "POST /close")
        assert (await rig.get("/api/active-sessions"))["sessions"] == []


@pytest.mark.long
async def test_it_is_handed_back_once_although_the_drain_finds_it_too(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        poll = proxy.hold_answer("GET /api/poll", containing=b"task_assigned")
        supersede = proxy.hold("supersede")
        async with running_worker(rig, harness("says_hi"), drain_ms=6000) as daemon:
            task_id = await rig.submit()
            await poll.reached.wait()
            daemon.shutdown.request("test")
            poll.open.set()
            await supersede.reached.wait()
            await anyio.sleep(2.5)  # the drain takes two seconds
            supersede.open.set()
        assert len(proxy.seen("supersede")) == 1
        assert (await rig.task(task_id))["status"] == "superseded"


@pytest.mark.long
async def test_a_poll_that_never_answers_does_not_hold_the_shutdown_up(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        async with running_worker(rig, harness("says_hi"), drain_ms=60_000) as daemon:
            held = proxy.hold("GET /api/poll", times=1000)
            await held.reached.wait()
            begin_s = time.monotonic()
            daemon.shutdown.request("test")
        assert time.monotonic() - begin_s < HANG_S
        held.open.set()


# --- when the budget is over
@pytest.mark.long
async def test_what_still_runs_is_superseded_before_the_goodbye(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = {**rig.env, **harness("waits", "/nowhere"), "SHUTDOWN_TIMEOUT": "3000"}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=2)
            worker.signal()
            assert await worker.exit_code() == 0
            assert tagged(tmp_path) == []
        assert (await rig.task(task_id))["status"] == "superseded"
        assert index(proxy, "supersede") < index(proxy, "POST /close")
        assert not proxy.seen("finish")
        resume = await resume_of(rig, task_id) or {}
        assert (resume["status"], resume["agentId"]) == ("pending", AGENT)
        assert "graceful-shutdown-pin" in resume["tags"]
        assert [line["type"] for line in await rig.lines(task_id)][:2] == ["system", "assistant"]
        # The next start has nothing left to put in order, and goes on with the work.
        async with running_worker(rig, harness("says_hi")):
            assert (await rig.until_ended(resume["id"]))["status"] == "completed"
        assert len(proxy.seen("supersede")) == 1


@pytest.mark.parametrize(
    "budget_ms", [1000, *(pytest.param(ms, marks=pytest.mark.long) for ms in (0, 3000))]
)
async def test_a_deaf_session_does_not_stretch_the_budget(tmp_path: Path, budget_ms: int):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = {**rig.env, **harness("deaf"), "SHUTDOWN_TIMEOUT": str(budget_ms)}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=2)
            assert len(tagged(tmp_path)) == 2
            begin_s = time.monotonic()
            worker.signal()
            assert await worker.exit_code() == 0
            assert time.monotonic() - begin_s < budget_ms / 1000 + LADDER_S
            assert tagged(tmp_path) == []
        # With no time at all the next start has to hand it back.
        status = "superseded" if budget_ms else "in_progress"
        assert (await rig.task(task_id))["status"] == status
        if budget_ms:
            # A word after it, such as a ping, would make the server think that we are there.
            assert index(proxy, "POST /close") == len(proxy.visits) - 1


@pytest.mark.slow  # the whole ladder of kills takes its time
async def test_a_deaf_session_has_the_whole_ladder_within_a_common_budget(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("deaf"), "SHUTDOWN_TIMEOUT": "15000"}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=2)
            worker.signal()
            assert await worker.exit_code() == 0
            steps = [line["step"] for line in worker.logged(Event.KILL_STEP)]
            assert steps[:3] == ["SIGINT", "SIGTERM", "SIGKILL"]
            assert tagged(tmp_path) == []
        assert (await rig.task(task_id))["status"] == "superseded"


async def test_a_task_that_is_being_prepared_is_handed_back(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        held = proxy.hold("prompt-templates/render", times=100)
        async with running_worker(rig, harness("says_hi"), drain_ms=1000) as daemon:
            task_id = await rig.submit()
            await held.reached.wait()
            daemon.shutdown.request("test")
        assert (await rig.task(task_id))["status"] == "superseded"
        assert not rig.logged(Event.SESSION_STARTED)
        held.open.set()


# --- more signals
@pytest.mark.long
async def test_a_second_signal_cuts_the_drain_short(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("waits", "/nowhere"), "SHUTDOWN_TIMEOUT": "60000"}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_STARTED)
            begin_s = time.monotonic()
            worker.signal()
            await worker.until_logged(Event.WORKER_DRAINING)
            worker.signal()
            assert await worker.exit_code() == 0
            assert time.monotonic() - begin_s < HANG_S
        assert (await rig.task(task_id))["status"] == "superseded"


@pytest.mark.long
async def test_a_third_signal_ends_it_on_the_spot_and_leaves_no_process(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("deaf"), "SHUTDOWN_TIMEOUT": "60000"}
        async with worker_process(tmp_path, env) as worker:
            await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=2)
            begin_s = time.monotonic()
            for count in (1, 2, 3):
                worker.signal()
                if count < 3:
                    await worker.until_logged(Event.WORKER_DRAINING, times=count)
            assert await worker.exit_code() == 1
            assert time.monotonic() - begin_s < LADDER_S
            await until(lambda: tagged(tmp_path) == [])


# --- an API that does not answer
@pytest.mark.long
async def test_without_an_api_the_claim_stays_and_the_next_start_hands_it_back(tmp_path: Path):
    async with restartable_rig(tmp_path) as (rig, _, swarm):
        env = {**rig.env, **harness("waits", "/nowhere"), "SHUTDOWN_TIMEOUT": "1500"}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=2)
            await swarm.stop()
            worker.signal()
            assert await worker.exit_code() == 0
            assert tagged(tmp_path) == []
        await swarm.start()
        assert (await rig.task(task_id))["status"] == "in_progress"
        async with running_worker(rig, harness("says_hi")):
            await rig.until_status(task_id, "superseded")
            resume = await resume_of(rig, task_id) or {}
            assert (await rig.until_ended(resume["id"]))["status"] == "completed"
        kinds = [line["type"] for line in await rig.lines(task_id)]
        assert (kinds.count("system"), kinds.count("assistant")) == (1, 1)


@pytest.mark.long
async def test_an_api_that_hangs_does_not_hold_the_shutdown_up(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = harness("waits", "/nowhere")
        async with running_worker(rig, env, drain_ms=1500) as daemon:
            task_id = await rig.submit()
            await until(lambda: len(rig.logged(Event.SESSION_OUTPUT)) == 2)
            held = proxy.hold(".", times=1000)
            begin_s = time.monotonic()
            daemon.shutdown.request("test")
        assert time.monotonic() - begin_s < HANG_S
        proxy.be_open()
        held.open.set()
        async with running_worker(rig, harness("says_hi")):
            await rig.until_status(task_id, "superseded")


# --- a session that had ended when the signal came
@pytest.mark.long
@pytest.mark.parametrize("trouble", ["refused", "silent"])
async def test_a_result_that_could_not_be_told_is_not_thrown_away(tmp_path: Path, trouble: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        if trouble == "refused":
            proxy.refuse("/finish", 503)
        else:
            held = proxy.hold("GET /api/tasks|/finish", times=1000)
        env = {**harness("says_hi"), "SWARM_API_TIMEOUT_S": "0.5"}
        async with running_worker(rig, env, drain_ms=2000) as daemon:
            task_id = await rig.submit()
            await until(lambda: rig.logged(Event.SESSION_ENDED))
            await until(lambda: proxy.seen("/finish|GET /api/tasks"))
            daemon.shutdown.request("test")
        assert not proxy.seen("supersede")
        assert (await rig.task(task_id))["status"] == "in_progress"
        proxy.be_open()
        if trouble == "silent":
            held.open.set()
        async with running_worker(rig, harness("says_hi", "again")):
            assert (await rig.until_ended(task_id))["output"] == "hi there"
        assert not proxy.seen("supersede")
        assert len(rig.logged(Event.SESSION_STARTED)) == 1


# --- a result that has been said
async def test_a_session_that_only_has_to_leave_is_not_handed_back(tmp_path: Path):
    """It has said its result and stays: the work is done, and would be done a second time."""
    said = tmp_path / "said"
    said.write_text(
        '{"type":"system","subtype":"init","session_id":"s-1","model":"m-1"}\n'
        '{"type":"result","subtype":"success","is_error":false,"result":"it is done",'
        '"total_cost_usd":0.25,"num_turns":1}\n'
    )
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = harness("stays", said, SWARM_RESULT_GRACE_S="600")
        async with running_worker(rig, env, drain_ms=1500):
            task_id = await rig.submit()
            await until(lambda: len(rig.logged(Event.SESSION_OUTPUT)) >= 2)
        task = await rig.task(task_id)
        assert (task["status"], task["output"]) == ("completed", "it is done")
        assert not proxy.seen("/supersede")
        assert len(await rig.costs(task_id)) == 1


@pytest.mark.long
async def test_a_session_in_its_next_turn_is_handed_back_although_it_had_a_result(tmp_path: Path):
    said = tmp_path / "said"
    said.write_text(
        '{"type":"system","subtype":"init","session_id":"s-1","model":"m-1"}\n'
        '{"type":"result","subtype":"success","is_error":false,"result":"turn one",'
        '"total_cost_usd":0.25,"num_turns":1}\n'
        '{"type":"assistant","message":{"role":"assistant","content":'
        '[{"type":"text","text":"turn two"}]}}\n'
    )
    async with proxy_rig(tmp_path) as (rig, _):
        env = harness("stays", said, SWARM_RESULT_GRACE_S="600")
        async with running_worker(rig, env, drain_ms=1500):
            task_id = await rig.submit()
            await until(lambda: len(rig.logged(Event.SESSION_OUTPUT)) >= 3)
        assert (await rig.task(task_id))["status"] == "superseded"
        assert await resume_of(rig, task_id)
