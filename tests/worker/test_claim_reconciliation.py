"""A task claimed in a lost answer is begun once, and only by its agent."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from patience import until
from recording_proxy import QuickClock, RecordingProxy, proxy_rig, restartable_rig
from rig import AGENT, Rig, harness, running_worker
from worker_process import worker_process

from agent_swarm_worker.local_swarm.sweeps import reboot_sweep
from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio
LONG = pytest.mark.long

POLL = "GET /api/poll"
LISTS = r"GET /api/tasks\?status"
CLAIMED = b"task_assigned"
SPEED = 5


def starts(rig: Rig) -> list[str]:
    """Return which tasks the harness was started for, one entry for each time."""
    file = rig.place / "starts"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.partition(" ")[2] for line in lines if line.startswith("start")]


def noting(rig: Rig, *args: object, **env: str) -> dict[str, str]:
    return harness("starts", rig.place / "starts", *args, **env)


async def sessions(rig: Rig) -> list[dict[str, Any]]:
    return list((await rig.get("/api/active-sessions"))["sessions"])


def recovered(rig: Rig) -> list[str]:
    lines = rig.logged(Event.TASK_RECOVERED)
    return [line["task"] for line in lines if "answer" in line["why"]]


async def looked_again(proxy: RecordingProxy) -> None:
    """Wait for another look; each asks for two lists."""
    asked = len(proxy.seen(LISTS))
    await until(lambda: len(proxy.seen(LISTS)) >= asked + 2)


async def claimed_elsewhere(rig: Rig) -> str:
    """Have a task in progress for this agent that no poll of this worker has returned."""
    task_id = await rig.submit()
    await rig.post(f"/api/tasks/{task_id}/progress", {"progress": "mine"})
    return task_id


def claimed_ago(proxy: RecordingProxy, task_id: str, seconds: float) -> None:
    """Make a task on the server older than it is."""
    store = proxy.stores[-1]
    store.run("UPDATE tasks SET lastUpdatedAt = ? WHERE id = ?", store.ago(seconds), task_id)


# --- the server has given the claim up before it is begun
def swept_after_a_restart(proxy: RecordingProxy) -> None:
    """Do to the server what it does seconds after its own restart."""
    store = proxy.stores[-1]
    with store.transaction():
        reboot_sweep(store, store.now())


async def only_the_retry_was_run(rig: Rig, task_id: str) -> None:
    (retry,) = [row for row in (await rig.get("/api/tasks"))["tasks"] if row["id"] != task_id]
    await rig.until_ended(retry["id"])
    assert (await rig.task(task_id))["status"] == "failed"
    assert starts(rig) == [retry["id"]]
    assert [line["task"] for line in rig.logged(Event.TASK_LOST)] == [task_id]


async def test_a_claim_that_was_given_up_while_its_answer_was_on_its_way_is_not_begun(
    tmp_path: Path,
):
    async with proxy_rig(tmp_path) as (rig, proxy):
        held = proxy.hold_answer(POLL, containing=CLAIMED)
        task_id = await rig.submit()
        async with running_worker(rig, noting(rig)):
            await held.reached.wait()
            swept_after_a_restart(proxy)
            held.open.set()
            await only_the_retry_was_run(rig, task_id)


@pytest.mark.long
async def test_a_claim_that_could_not_be_announced_in_time_is_let_go(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("POST /api/active-sessions$", 503)
        look = proxy.hold(r"GET /api/tasks/[^/]+$", times=1_000)
        task_id = await rig.submit()
        env = harness("waits", "/nowhere", SWARM_API_TIMEOUT_S="0.5")
        async with running_worker(rig, env, drain_ms=300):
            await until(lambda: rig.logged(Event.SESSION_STARTED))
            swept_after_a_restart(proxy)
            proxy.be_open()
            look.open.set()
            await until(lambda: rig.logged(Event.TASK_LOST))
            await until(lambda: len(rig.logged(Event.SESSION_STARTED)) == 2)
        assert (await rig.task(task_id))["status"] == "failed"


# --- the answer is lost
@pytest.mark.long
@pytest.mark.parametrize(
    "how", ["cut", *(pytest.param(how, marks=LONG) for how in ("half", "500"))]
)
async def test_a_claim_whose_answer_was_lost_is_begun_once(tmp_path: Path, how: str):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, noting(rig)):
        proxy.lose_answer(POLL, how, containing=CLAIMED)
        task_id = await rig.submit()
        task = await rig.until_ended(task_id)
        assert (task["status"], task["output"]) == ("completed", "done")
        await rig.settled(task_id)
        assert starts(rig) == [task_id] == recovered(rig)
        assert not proxy.seen("/supersede")
        assert len(await rig.costs(task_id)) == 1


@LONG
async def test_three_lost_answers_in_a_row(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.lose_answer(POLL, containing=CLAIMED, times=3)
        ids = [await rig.submit(f"task {number}") for number in range(3)]
        async with running_worker(rig, noting(rig, MAX_CONCURRENT_TASKS="3")):
            for task_id in ids:
                assert (await rig.until_ended(task_id))["status"] == "completed"
    assert sorted(starts(rig)) == sorted(ids) == sorted(recovered(rig))


@LONG
async def test_an_answer_that_took_too_long(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        held = proxy.hold_answer(POLL, containing=CLAIMED)
        env = noting(rig, SWARM_API_TIMEOUT_S="0.5")
        async with running_worker(rig, env):
            task_id = await rig.submit()
            await held.reached.wait()
            assert (await rig.until_ended(task_id))["status"] == "completed"
            held.open.set()
        assert starts(rig) == [task_id]


@LONG
async def test_an_api_that_went_away_over_its_answer(tmp_path: Path):
    async with restartable_rig(tmp_path) as (rig, proxy, swarm):
        held = proxy.hold_answer(POLL, containing=CLAIMED)
        async with running_worker(rig, noting(rig)):
            task_id = await rig.submit()
            await held.reached.wait()
            await swarm.stop()
            held.open.set()
            await until(lambda: rig.logged(Event.API_UNREACHABLE))
            await swarm.start()
            assert (await rig.until_ended(task_id))["status"] == "completed"
        assert starts(rig) == [task_id]


@LONG
async def test_a_trigger_that_cannot_be_read_is_looked_up(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, noting(rig)):
        proxy.refuse(POLL, 200, '{"trigger": null}')
        task_id = await rig.submit()
        await rig.post(f"/api/tasks/{task_id}/progress", {"progress": "claimed"})
        proxy.be_open()
        proxy.say(POLL, {"trigger": {"type": "task_assigned", "task": 7}}, times=1)
        assert (await rig.until_ended(task_id))["status"] == "completed"
        assert starts(rig) == [task_id]


@LONG
@pytest.mark.parametrize("has_lead", [False, True])
async def test_a_pool_task_and_an_offer_are_found_too(tmp_path: Path, has_lead: bool):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.lose_answer(POLL, containing=b"task_", times=2)
        env = noting(rig, MAX_CONCURRENT_TASKS="2")
        async with running_worker(rig, env, clock=QuickClock(SPEED)):
            pool = (await rig.post("/api/tasks", {"task": "for anybody"}))["id"]
            if has_lead:  # to whom the server assigns the offer
                lead = {"name": "lead", "isLead": True}
                await rig.post("/api/agents", lead, **{"X-Agent-ID": str(UUID(int=7))})
            offer = (await rig.post("/api/tasks", {"task": "an offer", "offeredTo": AGENT}))["id"]
            await until(lambda: len(starts(rig)) == 2)
            assert (await rig.until_ended(pool))["status"] == "completed"
            await rig.settled(offer)
            # Not progressed and not finished by us, as if the poll had answered; nor begun again.
            assert (await rig.task(offer))["status"] == "reviewing"
            await looked_again(proxy)
    assert sorted(starts(rig)) == sorted([pool, offer])
    triggers = {v.json()["taskId"]: v.json()["triggerType"] for v in proxy.seen("active-sessions$")}
    assert triggers == {pool: "task_assigned", offer: "task_offered"}


@LONG
async def test_an_offer_of_which_nothing_came_is_not_begun_again(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.lose_answer(POLL, containing=b"task_")
        async with running_worker(rig, noting(rig, 0, "silent"), clock=QuickClock(SPEED)):
            offer = (await rig.post("/api/tasks", {"task": "an offer", "offeredTo": AGENT}))["id"]
            await until(lambda: starts(rig))
            await rig.settled(offer)
            assert (await rig.task(offer))["status"] == "reviewing"
            assert await rig.logs(offer) == []
            await looked_again(proxy)
            await looked_again(proxy)
    assert starts(rig) == [offer]


@LONG
async def test_what_has_no_room_waits(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = noting(rig, 0.3, MAX_CONCURRENT_TASKS="2")
        async with running_worker(rig, env, clock=QuickClock(SPEED)):
            lists = proxy.hold(LISTS)
            proxy.lose_answer(POLL, containing=CLAIMED)
            first = await rig.submit("one")
            await lists.reached.wait()
            second = await claimed_elsewhere(rig)
            await rig.set_row("MAX_CONCURRENT_TASKS", "1")
            await until(lambda: rig.logged(Event.CONFIG_CHANGED))
            lists.open.set()
            await rig.until_ended(first)
            await rig.until_ended(second)
    words = [line.split()[0] for line in (tmp_path / "starts").read_text().splitlines()]
    assert words == ["start", "end"] * 2


# --- the worker dies over the answer
@LONG
async def test_a_worker_killed_over_the_answer(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = {**rig.env, **noting(rig)}
        held = proxy.hold_answer(POLL, containing=CLAIMED)
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await held.reached.wait()
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        held.open.set()
        async with running_worker(rig, noting(rig)):
            assert (await rig.until_ended(task_id))["status"] == "completed"
        assert starts(rig) == [task_id] == recovered(rig)


@LONG
async def test_a_worker_killed_while_it_makes_sure(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = {**rig.env, **noting(rig), "SWARM_HEARTBEAT_INTERVAL_S": "60"}
        proxy.lose_answer(POLL, containing=CLAIMED)
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await rig.until(lambda: sessions(rig))
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        # As where a start leaves the rows of its agent alone: ours is known to be ours.
        proxy.say("active-sessions/cleanup", {"cleaned": 0})
        async with running_worker(rig, noting(rig)):
            assert (await rig.until_ended(task_id))["status"] == "completed"
        assert starts(rig) == [task_id]


@pytest.mark.long
async def test_a_shutdown_over_the_answer_leaves_it_to_the_next_start(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.lose_answer(POLL, containing=CLAIMED)
        async with running_worker(rig, noting(rig)) as daemon:
            task_id = await rig.submit()
            await rig.until(lambda: sessions(rig))
            daemon.shutdown.request("test")
        assert starts(rig) == []
        assert await sessions(rig) == []
        async with running_worker(rig, noting(rig)):
            assert (await rig.until_ended(task_id))["status"] == "completed"
        assert starts(rig) == [task_id]


@pytest.mark.long
async def test_a_worker_that_saw_every_answer_looks_for_nothing(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        for _ in range(2):
            async with running_worker(rig, noting(rig)):
                await rig.until_ended(await rig.submit())
        assert not proxy.seen(LISTS)


# --- not ours
@pytest.mark.long
async def test_a_task_another_process_begins_meanwhile_is_left_to_it(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.say(POLL, {"trigger": None})
        # On this clock a minute of watching is 12 s, and of making sure there is time to act.
        env = noting(rig, SWARM_HEARTBEAT_INTERVAL_S="4")
        async with running_worker(rig, env, clock=QuickClock(SPEED)):
            lists = proxy.hold(LISTS)
            proxy.be_open()
            proxy.refuse(POLL, 500, times=1)
            await until(lambda: [visit for visit in proxy.seen(POLL) if visit.status == 500])
            proxy.say(POLL, {"trigger": None})
            task_id = await claimed_elsewhere(rig)
            log = proxy.hold(f"GET /api/tasks/{task_id}/session-logs")
            lists.open.set()
            await log.reached.wait()
            assert await sessions(rig)
            # What another worker does on being told that there is a row: it puts its own there.
            await rig.api.delete(f"/api/active-sessions/by-task/{task_id}")
            row = {"agentId": AGENT, "taskId": task_id, "triggerType": "x"}
            await rig.post("/api/active-sessions", {**row, "runnerSessionId": "other"})
            log.open.set()
            await until(lambda: proxy.seen("DELETE /api/active-sessions/"))
            await looked_again(proxy)
            (left,) = await sessions(rig)
        assert left["runnerSessionId"] == "other"
        assert starts(rig) == []
        assert not proxy.seen("/supersede|/finish")


@pytest.mark.long
async def test_a_task_claimed_before_our_poll_was_claimed_by_somebody_else(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.say(POLL, {"trigger": None})
        async with running_worker(rig, noting(rig), clock=QuickClock(SPEED)):
            task_id = await claimed_elsewhere(rig)
            # Far longer ago than the poll, though the time since that passes so much faster here.
            claimed_ago(proxy, task_id, 3600)
            proxy.be_open()
            proxy.refuse(POLL, 500, times=1)
            proxy.say("recover-orphaned-tasks", {"recovered": 0, "tasks": []})
            await until(lambda: [v for v in proxy.seen("DELETE /api/active-sessions/") if v.status])
            assert await sessions(rig) == []
            await looked_again(proxy)
            assert len(proxy.seen("POST /api/active-sessions$")) == 1
            assert (await rig.task(task_id))["status"] == "in_progress"
        assert starts(rig) == []


@LONG
@pytest.mark.parametrize("what", ["a session", "a stored session", "a log", "an end"])
async def test_a_task_somebody_has_begun_is_not_begun(tmp_path: Path, what: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        lists = proxy.hold(LISTS)
        proxy.lose_answer(POLL, containing=CLAIMED)
        async with running_worker(rig, noting(rig), clock=QuickClock(SPEED)):
            task_id = await rig.submit()
            await lists.reached.wait()
            if what == "a session":
                row = {"agentId": AGENT, "taskId": task_id, "triggerType": "x"}
                await rig.post("/api/active-sessions", {**row, "runnerSessionId": "other"})
            elif what == "a stored session":
                await rig.api.put(f"/api/tasks/{task_id}/session", json={"claudeSessionId": "s"})
            elif what == "a log":
                log = {"sessionId": "s", "iteration": 1, "taskId": task_id, "lines": ["x"]}
                await rig.post("/api/session-logs", log)
            else:
                await rig.post(f"/api/tasks/{task_id}/cancel")
            lists.open.set()
            await looked_again(proxy)
            await looked_again(proxy)
            rows = await sessions(rig)
        assert [row["runnerSessionId"] for row in rows] == ["other"] * (what == "a session")
        # No list tells of the other two, so a row kept the place while the task was asked.
        kept = len(proxy.seen("POST /api/active-sessions$"))
        assert kept == (what in {"a log", "a stored session"})
        assert starts(rig) == []
        assert not proxy.seen("/supersede|/finish")


# --- what else the server does
@LONG
async def test_neither_a_recovery_of_orphans_nor_a_cancel_gets_in_between(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = noting(rig, MAX_CONCURRENT_TASKS="2")
        async with running_worker(rig, {**env, "SWARM_HEARTBEAT_INTERVAL_S": "1"}):
            proxy.lose_answer(POLL, containing=CLAIMED, times=2)
            kept, cancelled = await rig.submit("kept"), await rig.submit("cancelled")

            async def both() -> bool:
                return len(await sessions(rig)) == 2

            await rig.until(both)
            await anyio.sleep(1.1)
            body = {"agentId": AGENT, "minAgeSeconds": 1}
            answer = await rig.post(
                "/api/active-sessions/recover-orphaned-tasks", body, **{"X-Agent-ID": AGENT}
            )
            assert answer["recovered"] == 0
            await rig.post(f"/api/tasks/{cancelled}/cancel")
            assert (await rig.until_ended(kept))["status"] == "completed"
        assert starts(rig) == [kept]


@LONG
async def test_a_server_that_ignores_filters_gives_us_nobody_elses_tasks(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, noting(rig)):
        other = {"id": "other", "task": "t", "status": "in_progress", "agentId": "somebody else"}
        ended = {"id": "ended", "task": "t", "status": "completed", "agentId": AGENT}
        offer = {"id": "offer", "task": "t", "status": "reviewing", "offeredTo": "somebody else"}
        bad = {"id": "../bad", "task": "t", "status": "in_progress", "agentId": AGENT}
        proxy.say(LISTS, {"tasks": [other, ended, offer, bad, None, 7]})
        proxy.refuse(POLL, 500, times=1)
        await until(lambda: len(proxy.seen(LISTS)) >= 2)
        proxy.be_open()
        task_id = await rig.submit()
        assert (await rig.until_ended(task_id))["status"] == "completed"
        assert starts(rig) == [task_id]
        assert not proxy.seen("(other|ended|offer|bad)")


@LONG
@pytest.mark.parametrize("lacking", [LISTS, "GET /api/active-sessions", "POST /api/active-sess"])
async def test_a_server_that_cannot_tell_is_not_asked_for_ever(tmp_path: Path, lacking: str):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, noting(rig)):
        proxy.lack(lacking)
        proxy.lose_answer(POLL, containing=CLAIMED)
        lost = await rig.submit()
        await rig.until_status(lost, "in_progress")
        await until(lambda: proxy.seen(lacking))
        asked = len(proxy.seen(lacking))
        await anyio.sleep(1.5)
        assert len(proxy.seen(lacking)) <= asked + 1
        assert starts(rig) == []


@LONG
async def test_looking_goes_on_until_the_api_can_answer(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = noting(rig)
        async with running_worker(rig, env, clock=QuickClock(SPEED)):
            proxy.refuse(r"(POST|GET) /api/active-sessions(\?|$)", 500, times=2)
            proxy.lose_answer(r"POST /api/active-sessions$")
            proxy.say(r"POST /api/active-sessions$", {"session": 7}, times=1)
            proxy.lose_answer(POLL, containing=CLAIMED)
            task_id = await rig.submit()
            assert (await rig.until_ended(task_id))["status"] == "completed"
            assert starts(rig) == [task_id]
