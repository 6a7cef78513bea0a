"""Polling: its intervals, and its reaction to each answer."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from patience import until
from recording_proxy import QuickClock, endless_worker, proxy_rig, restartable_rig
from rig import AGENT, harness, running_worker

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

REFUSED = {
    "trigger": {"type": "budget_refused", "cause": "agent", "resetAt": "2099-01-01T00:00:00.000Z"}
}
EMPTY: dict[str, Any] = {"trigger": None}


# --- answers that are no work
@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (503, '{"error": "starting"}', "application/json"),
        (500, '{"error": "SQLITE_BUSY"}', "application/json"),
        (429, "slow down", "text/plain"),
        (400, '{"error": "bad header"}', "application/json"),
        (404, "Not Found", "text/plain"),
        (200, "<html>", "text/html"),
        (200, '{"trigger": [1]}', "application/json"),
        (200, "{}", "application/json"),
        (200, "null", "application/json"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_asked_again(
    tmp_path: Path, status: int, text: str, kind: str
):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("says_hi")):
        asked = len(proxy.seen("/api/poll"))
        proxy.refuse("/api/poll", status, text, kind=kind, times=3)
        await until(lambda: len(proxy.seen("/api/poll")) > asked + 3)
        task_id = await rig.submit()
        assert (await rig.until_ended(task_id))["status"] == "completed"


async def test_an_outage_is_survived(tmp_path: Path):
    async with (
        restartable_rig(tmp_path) as (rig, _, swarm),
        running_worker(rig, harness("says_hi")),
    ):
        await swarm.stop()
        await until(lambda: rig.logged(Event.API_UNREACHABLE))
        await swarm.start()
        task_id = await rig.submit()
        assert (await rig.until_ended(task_id))["status"] == "completed"


@pytest.mark.long
async def test_a_key_that_is_refused_for_a_while_is_not_hammered(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("says_hi"), clock=QuickClock(60)),
    ):
        proxy.refuse("/api/poll", 401, '{"error": "Unauthorized"}', times=1)
        await until(lambda: [v for v in proxy.seen("/api/poll") if v.status == 401])
        (refused,) = (v for v in proxy.seen("/api/poll") if v.status == 401)
        task_id = await rig.submit()
        assert (await rig.until_ended(task_id))["status"] == "completed"
        later = [v for v in proxy.seen("/api/poll") if v.at_s > refused.at_s]
        assert later[0].at_s - refused.at_s >= 0.45


async def test_a_trigger_of_a_kind_we_do_not_know_is_ignored(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, {**harness("says_hi"), "SWARM_POLL_INTERVAL_S": "0.2"}),
    ):
        proxy.say("/api/poll", {"trigger": {"type": "moon_phase", "taskId": "x"}}, times=2)
        await until(lambda: len(rig.logged(Event.TRIGGER_IGNORED)) == 2)
        first, second = proxy.seen("/api/poll")[-2:]
        assert second.at_s - first.at_s > 0.15
        assert not rig.logged(Event.SESSION_STARTED)


# --- how often
class NotingClock(QuickClock):
    """A clock that notes how long everybody wants to sleep."""

    def __init__(self, speed: float) -> None:
        super().__init__(speed)
        self.slept_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        await super().sleep(seconds)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_poll_that_is_asked_to_wait_waits(tmp_path: Path, status: int):
    clock = NotingClock(20)
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("says_hi"), clock=clock),
    ):
        proxy.refuse("/api/poll", status, headers=(("Retry-After", "277"),), times=1)
        await until(lambda: [wait_s for wait_s in clock.slept_s if 200 < wait_s <= 277])
        assert [visit.status for visit in proxy.seen("/api/poll")][-1] == status


async def test_an_idle_worker_asks_every_two_seconds(tmp_path: Path):
    speed = 40
    env = {**harness("says_hi"), "SWARM_POLL_INTERVAL_S": "2"}
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, env, clock=(clock := NotingClock(speed))),
    ):
        await until(lambda: len(proxy.seen("/api/poll")) >= 11)
        asked = [visit.at_s * speed for visit in proxy.seen("/api/poll")]
        pauses = [later - earlier for earlier, later in pairwise(asked)]
        assert min(pauses) > 1.5
        # An answer takes its time, too, on this clock; what is waited for behind it, is two.
        assert len([wait_s for wait_s in clock.slept_s if 1.5 < wait_s < 2.5]) >= 10


@pytest.mark.long
async def test_a_full_worker_does_not_ask(tmp_path: Path):
    go_on = tmp_path / "go-on"
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("waits", go_on)),
    ):
        first, second = await rig.submit("one"), await rig.submit("two")
        await until(lambda: rig.logged(Event.SESSION_STARTED))
        asked = len(proxy.seen("/api/poll"))
        await anyio.sleep(0.4)
        assert len(proxy.seen("/api/poll")) == asked
        go_on.touch()
        await rig.until_ended(first)
        await rig.until_ended(second)


# --- a budget that is used up
class NoLongWait(QuickClock):
    """A clock on which a wait of sixteen seconds does not end."""

    async def sleep(self, seconds: float) -> None:
        if seconds == 16:
            await anyio.sleep_forever()
        await super().sleep(seconds)


@pytest.mark.long
async def test_a_used_up_budget_is_asked_about_less_and_less(tmp_path: Path):
    speed = 20
    env = {**harness("waits", "/nowhere"), "MAX_CONCURRENT_TASKS": "2"}
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, env, clock=NoLongWait(speed)),
    ):
        running = await rig.submit("long")
        await until(lambda: rig.logged(Event.SESSION_STARTED))
        # An empty answer in between does not make it less.
        for answer in (REFUSED, REFUSED, EMPTY, REFUSED, REFUSED):
            proxy.say("/api/poll", answer, times=1)
        await until(lambda: len(rig.logged(Event.BUDGET_REFUSED)) == 4)
        backoffs = [line["backoff_s"] for line in rig.logged(Event.BUDGET_REFUSED)]
        assert backoffs == [2, 4, 8, 16]
        # Within the last wait the running task beats and can be cancelled.
        asked = len(proxy.seen("/api/poll"))
        beats = len(proxy.seen("heartbeat/"))
        await until(lambda: len(proxy.seen("heartbeat/")) > beats + 3)
        await rig.post(f"/api/tasks/{running}/cancel")
        await until(lambda: rig.logged(Event.TASK_CANCELLED))
        assert len(proxy.seen("/api/poll")) == asked


@pytest.mark.long
async def test_work_that_is_given_again_ends_the_back_off(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("says_hi"), clock=QuickClock(50)),
    ):
        proxy.say("/api/poll", REFUSED, times=2)
        await until(lambda: len(rig.logged(Event.BUDGET_REFUSED)) == 2)
        await rig.until_ended(await rig.submit())
        proxy.say("/api/poll", REFUSED, times=1)
        await until(lambda: len(rig.logged(Event.BUDGET_REFUSED)) == 3)
        assert [line["backoff_s"] for line in rig.logged(Event.BUDGET_REFUSED)] == [2, 4, 2]


async def test_the_longest_back_off_is_five_minutes(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("says_hi"), clock=QuickClock(5000)),
    ):
        proxy.say("/api/poll", REFUSED)
        await until(lambda: len(rig.logged(Event.BUDGET_REFUSED)) == 10)
        backoffs = [line["backoff_s"] for line in rig.logged(Event.BUDGET_REFUSED)]
        assert backoffs[6:10] == [128, 256, 300, 300]


# --- the same task twice
async def test_a_task_that_runs_is_not_begun_again(tmp_path: Path):
    go_on = tmp_path / "go-on"
    env = {**harness("waits", go_on), "MAX_CONCURRENT_TASKS": "2"}
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, env):
        task_id = await rig.submit()
        await until(lambda: rig.logged(Event.SESSION_STARTED))
        row = await rig.task(task_id)
        trigger = {"type": "task_assigned", "taskId": task_id, "task": row}
        proxy.say("/api/poll", {"trigger": trigger}, times=3)
        await until(lambda: len(rig.logged(Event.TRIGGER_IGNORED)) == 3)
        go_on.touch()
        assert (await rig.until_ended(task_id))["output"] == "done at last"
        await rig.settled(task_id)
        assert len(rig.logged(Event.SESSION_STARTED)) == 1
        assert len(await rig.costs(task_id)) == 1


# --- what an older server had paused
@pytest.mark.long
async def test_paused_tasks_are_taken_up_at_the_start(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        async with running_worker(rig, harness("waits", "/nowhere"), drain_ms=0):
            ids = [await rig.submit("paused one")]
            await until(lambda: rig.logged(Event.SESSION_OUTPUT))
        await rig.api.post(f"/api/tasks/{ids[0]}/progress", json={"progress": "half way"})
        await rig.api.post(f"/api/tasks/{ids[0]}/pause")
        assert (await rig.task(ids[0]))["status"] == "paused"
        ids.append(await rig.submit("pending one"))
        seen = tmp_path / "seen"
        seen.mkdir()
        async with running_worker(rig, harness("witness", seen)):
            for task_id in ids:
                assert (await rig.until_ended(task_id))["status"] == "completed"
        assert "half way" in (seen / f"{ids[0]}.json").read_text()
        rows = [v.json() for v in proxy.seen("POST /api/active-sessions$")]
        assert [row["triggerType"] for row in rows if row["taskId"] == ids[0]][-1] == "task_resumed"


async def test_a_paused_task_that_cannot_be_resumed_does_not_stop_the_rest(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        rows = [
            {"id": f"0000000{n}-0000-4000-8000-000000000000", "task": "t", "status": "paused"}
            for n in range(3)
        ]
        rows[0]["output"] = "it has one"
        proxy.say("/api/paused-tasks", {"tasks": [{**row, "agentId": AGENT} for row in rows]})
        async with running_worker(rig, harness("says_hi")):
            await until(lambda: len(proxy.seen("/resume")) == 2)
            task_id = await rig.submit()
            assert (await rig.until_ended(task_id))["status"] == "completed"
