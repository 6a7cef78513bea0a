"""The next start of a killed worker settles its claims and loses nothing."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import anyio
import pytest
from patience import until
from recording_proxy import RecordingProxy, endless_worker, proxy_rig, restartable_rig
from rig import AGENT, Rig, harness, running_worker
from worker_process import tagged, worker_process

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

SLOW_LOGS = {"SWARM_LOG_FLUSH_INTERVAL_S": "60"}


async def children_of(rig: Rig, task_id: str) -> list[dict[str, Any]]:
    rows = (await rig.get("/api/tasks", fields="full", limit=100))["tasks"]
    return [row for row in rows if row.get("parentTaskId") == task_id]


async def killed_while_running(rig: Rig, env: dict[str, str], last_word: str) -> str:
    """Start a worker, kill it in the middle of a task, and return the task."""
    async with worker_process(rig.place, {**rig.env, **env}) as worker:
        task_id = await rig.submit()
        await until(lambda: last_word in worker.text())
        worker.signal(signal.SIGKILL)
        await worker.exit_code()
        assert tagged(rig.place)
        await next_start(rig)
        assert tagged(rig.place) == []
    return task_id


ASKS = """
import json, time
use = {"type": "tool_use", "id": "1", "name": "Bash", "input": {"command": "ls"}}
print(json.dumps({"type": "assistant", "message": {"content": [use]}}), flush=True)
text = {"type": "text", "text": "I consider it"}
print(json.dumps({"type": "assistant", "message": {"content": [text]}}), flush=True)
time.sleep(1000)
"""


@pytest.mark.long
@pytest.mark.parametrize("has_lead", [True, False])
@pytest.mark.parametrize("with_server", [True, False])
async def test_an_offer_under_review_stays_one(tmp_path: Path, has_lead: bool, with_server: bool):
    """Progress would make it a task in progress, of nobody or of the lead (docs/api.md 4.4)."""
    async with restartable_rig(tmp_path) as (rig, proxy, swarm):
        if has_lead:  # to whom the server assigns the offer
            lead = "0a9e0000-0000-4000-8000-000000000002"
            await rig.post("/api/agents", {"name": "lead", "isLead": True}, **{"X-Agent-ID": lead})
        async with worker_process(tmp_path, {**rig.env, **rig.agent(ASKS), **SLOW_LOGS}) as worker:
            offer = (await rig.post("/api/tasks", {"task": "offer", "offeredTo": AGENT}))["id"]
            await until(lambda: "I consider it" in worker.text())
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        if with_server:
            await swarm.stop()
            await swarm.start()
        await next_start(rig)
        assert (await rig.task(offer))["status"] in {"reviewing", "offered"}
        assert await rig.said(offer) == ["I consider it"]
        assert not proxy.seen("(progress|finish|supersede)$")


async def next_start(rig: Rig, **env: str) -> None:
    """Start the next worker and stop it again, once it has put things in order."""
    async with running_worker(rig, {**harness("says_hi"), **env}, drain_ms=3000):
        pass


def index(proxy: RecordingProxy, pattern: str, place: int = 0) -> int:
    return proxy.visits.index(proxy.seen(pattern)[place])


# --- killed in the middle of a task
@pytest.mark.long
async def test_a_killed_worker_is_followed_by_one_that_goes_on_with_its_task(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        task_id = await killed_while_running(rig, harness("deaf"), "I hear nothing")
        assert (await rig.task(task_id))["status"] == "superseded"
        (resume,) = await children_of(rig, task_id)
        assert "reason:crash_recovery" in resume["tags"]
        assert resume["agentId"] == AGENT
        async with running_worker(rig, harness("says_hi")):
            assert (await rig.until_ended(resume["id"]))["status"] == "completed"
        assert len(proxy.seen("/supersede")) == 1
        # Before the clean-up: after it the session of the crashed one could not be told from none.
        assert index(proxy, "/supersede") < index(proxy, "active-sessions/cleanup", 1)
        private = anyio.Path(tmp_path, "state", AGENT, "sessions")
        assert [path async for path in private.iterdir()] == []


@pytest.mark.long
async def test_the_rest_of_its_journal_is_uploaded_once(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        task_id = await killed_while_running(rig, harness("chats", 300, **SLOW_LOGS), "word 299")
        words = [f"word {number}" for number in range(300)]
        await until_said(rig, task_id, words)
        await next_start(rig)
        assert await rig.said(task_id) == words


async def until_said(rig: Rig, task_id: str, words: list[str]) -> None:
    async def look() -> bool:
        return len(await rig.said(task_id)) >= len(words)

    async with running_worker(rig, harness("says_hi")):
        await rig.until(look)
    assert await rig.said(task_id) == words


@pytest.mark.long
async def test_a_start_that_is_interrupted_in_turn_uploads_nothing_twice(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = {**rig.env, **harness("chats", 50, **SLOW_LOGS)}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await until(lambda: "word 49" in worker.text())
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        held = proxy.hold("/supersede")
        async with running_worker(rig, harness("says_hi"), waits_for_boot=False) as daemon:
            await held.reached.wait()
            daemon.shutdown.request("test")
        held.open.set()
        await until_said(rig, task_id, [f"word {number}" for number in range(50)])


@pytest.mark.long
async def test_a_crash_the_api_could_not_be_told_of_is_told_by_a_later_start(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("/supersede|/pause|/finish", 503)
        task_id = await killed_while_running(rig, harness("deaf"), "I hear nothing")
        assert (await rig.task(task_id))["status"] == "in_progress"
        proxy.be_open()
        await next_start(rig)
        assert (await rig.task(task_id))["status"] == "superseded"


@pytest.mark.parametrize("end", ["completed", pytest.param("cancelled", marks=pytest.mark.long)])
async def test_a_task_that_ended_meanwhile_is_left_as_it_is(tmp_path: Path, end: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = {**rig.env, **harness("deaf")}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=2)
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        if end == "cancelled":
            await rig.post(f"/api/tasks/{task_id}/cancel")
        else:
            body = {"status": "completed", "output": "by hand"}
            await rig.post(f"/api/tasks/{task_id}/finish", body, **{"X-Agent-ID": AGENT})
        await next_start(rig)
        assert (await rig.task(task_id))["status"] == end
        assert await children_of(rig, task_id) == []
        assert not proxy.seen("/supersede")


@pytest.mark.long
async def test_a_worker_killed_before_its_session_began_leaves_nothing_behind(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        held = proxy.hold("prompt-templates/render", times=100)
        async with worker_process(tmp_path, {**rig.env, **harness("says_hi")}) as worker:
            task_id = await rig.submit()
            await held.reached.wait()
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        held.open.set()
        proxy.be_open()
        async with running_worker(rig, harness("says_hi")):
            task = await rig.until_ended(task_id)
            (resume,) = await children_of(rig, task_id)
            assert task["status"] == "superseded"
            assert (await rig.until_ended(resume["id"]))["status"] == "completed"


# --- killed when the task was done
@pytest.mark.long
async def test_a_result_that_was_not_told_is_told_by_the_next_start(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("/finish", 503)
        async with worker_process(tmp_path, {**rig.env, **harness("says_hi")}) as worker:
            task_id = await rig.submit()
            await until(lambda: len(proxy.seen("/finish")) >= 2)
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        proxy.be_open()
        proxy.delay("/finish", 0.5)
        told = len(proxy.seen("/finish"))
        async with endless_worker(rig, harness("waits", "/nowhere")):
            assert (await rig.until_ended(task_id))["output"] == "hi there"
            # Else the server might put the task back, as one that never began.
            recoveries = proxy.seen("recover-orphaned")
            assert proxy.visits.index(recoveries[-1]) > index(proxy, "/finish", told)
            assert recoveries[-1].at_s - proxy.seen("/finish")[told].at_s >= 0.5
        assert not proxy.seen("/supersede")
        assert not rig.logged(Event.SESSION_STARTED)
        assert len(await rig.costs(task_id)) == 1
        assert len(await rig.said(task_id)) == 1


@pytest.mark.long
async def test_a_start_does_not_wait_for_ever_for_what_nobody_takes(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("/finish", 503)
        async with running_worker(rig, harness("says_hi"), drain_ms=1000):
            await rig.submit()
            await until(lambda: proxy.seen("/finish"))
        proxy.visits.clear()  # the first worker polled, too
        async with running_worker(rig, {**harness("says_hi"), "MAX_CONCURRENT_TASKS": "2"}):
            await until(lambda: proxy.seen("/api/poll"))


# --- killed by its own shutdown
async def test_the_last_words_of_a_session_that_had_to_be_killed_are_told(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**harness("deaf"), **SLOW_LOGS}
        async with running_worker(rig, env, drain_ms=1000):
            task_id = await rig.submit()
            await until(lambda: len(rig.logged(Event.SESSION_OUTPUT)) >= 2)
        assert (await rig.task(task_id))["status"] == "superseded"
        await until_said(rig, task_id, ["I hear nothing"])
