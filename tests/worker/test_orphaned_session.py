"""Output of the sessions of a killed worker is not lost, from before or after the kill."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from patience import until
from recording_proxy import RecordingProxy, proxy_rig
from rig import Rig, harness, running_worker
from worker_process import WorkerProcess, tagged, worker_process

from agent_swarm_worker.logs import Event
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.subreaper import HOLDER_VARIABLE

pytestmark = pytest.mark.anyio

SLOW = {"SWARM_LOG_FLUSH_INTERVAL_S": "60", "SWARM_EVENTS_FLUSH_INTERVAL_S": "60"}
PASSWORD = "correct-horse-battery-staple"


def keepers(place: Path) -> list[int]:
    """Return those that sleep for a session of a worker whose files lie there."""
    names = {path.name for path in place.glob("state/*/sessions/*")}
    entries = [f"{HOLDER_VARIABLE}={name}".encode() for name in names]
    return [
        pid
        for pid in procfs.snapshot()
        if any(procfs.has_variable(pid, entry) for entry in entries)
    ]


async def children_of(rig: Rig, task_id: str) -> list[dict[str, Any]]:
    rows = (await rig.get("/api/tasks", fields="full", limit=100))["tasks"]
    return [row for row in rows if row.get("parentTaskId") == task_id]


async def kill(worker: WorkerProcess) -> None:
    worker.signal(signal.SIGKILL)
    await worker.exit_code()


async def next_start(rig: Rig) -> None:
    async with running_worker(rig, harness("waits", "/nowhere"), drain_ms=3000):
        await until(lambda: not rig.logged(Event.TASK_STARTED))


@asynccontextmanager
async def stopped_worker(rig: Rig, go: Path, *args: object, **env: str):
    """A worker that reads nothing any more, while its session goes on to its end."""
    env = {**rig.env, **harness("goes_on", go, *args), **SLOW, **env}
    async with worker_process(rig.place, env) as worker:
        task_id = await rig.submit()
        await until(lambda: "word 0" in worker.text())
        worker.signal(signal.SIGSTOP)
        go.touch()
        await until(Path(f"{go}.gone").exists)
        yield worker, task_id


# --- what was still in the pipes
@pytest.mark.long
async def test_what_nobody_had_read_is_told_and_the_task_is_done(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        async with stopped_worker(rig, tmp_path / "go", 20) as (worker, task_id):
            assert len(keepers(tmp_path)) == 1
            await kill(worker)
            await until(lambda: not tagged(tmp_path))
            await next_start(rig)
        await complete(rig, proxy, task_id)
        assert await rig.said(task_id) == [f"word {number}" for number in range(20)]
        complaints = [line for line in await rig.lines(task_id) if line["type"] == "stderr"]
        assert [line["content"] for line in complaints] == ["a complaint"]
        assert keepers(tmp_path) == []


async def complete(rig: Rig, proxy: RecordingProxy, task_id: str) -> None:
    """Check that a task was finished, paid for and run once."""
    task = await rig.until_ended(task_id)
    assert (task["status"], task["output"]) == ("completed", "it is done")
    await rig.settled(task_id)
    assert len(await rig.costs(task_id)) == 1
    assert await children_of(rig, task_id) == []
    assert not proxy.seen("/supersede")
    assert [event["event"] for event in await rig.events(task_id)][::-1] == [
        "session.start",
        "tool.start",
        "tool.end",
        "session.end",
    ]


@pytest.mark.long
async def test_a_secret_in_it_is_taken_out(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        rig.env["MY_PASSWORD"] = PASSWORD
        async with stopped_worker(rig, tmp_path / "go", 1, "MY_PASSWORD") as (worker, task_id):
            await kill(worker)
            await next_start(rig)
        await rig.until_ended(task_id)
        assert "the password is [REDACTED:MY_PASSWORD]" in await rig.said(task_id)
        assert PASSWORD not in str(await rig.logs(task_id))
        journals = [path.read_text() for path in tmp_path.glob("state/*/logs/*/*.jsonl")]
        assert len(journals) == 1
        assert PASSWORD not in journals[0]


@pytest.mark.long
async def test_half_a_line_that_was_read_is_put_together_again(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        rig.env["MY_PASSWORD"] = PASSWORD
        go, (first, second) = tmp_path / "go", (PASSWORD[:14], PASSWORD[14:])
        env = {**rig.env, **harness("torn", go, first, second), **SLOW}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await until((tmp_path / "half").exists)
            worker.signal(signal.SIGSTOP)
            go.touch()
            await until(Path(f"{go}.gone").exists)
            await kill(worker)
            await next_start(rig)
        _, before, line, after = await rig.lines(task_id)
        assert "word 0" in str(before)
        assert line["message"] == {"content": "it is [REDACTED:MY_PASSWORD]"}
        assert "word 1" in str(after)
        everything = str(await rig.logs(task_id)) + "".join(
            path.read_text() for path in tmp_path.glob("state/*/logs/*/*.jsonl")
        )
        assert first not in everything
        assert second not in everything


@pytest.mark.long
async def test_a_start_in_between_that_is_killed_in_turn_tells_nothing_twice(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        async with stopped_worker(rig, tmp_path / "go", 20) as (worker, task_id):
            await kill(worker)
            held = proxy.hold(f"GET /api/tasks/{task_id}$")
            env = {**rig.env, **harness("says_hi")}
            async with worker_process(tmp_path, env) as second:
                await held.reached.wait()
                await kill(second)
            held.open.set()
            await next_start(rig)
        await complete(rig, proxy, task_id)
        assert await rig.said(task_id) == [f"word {number}" for number in range(20)]


@pytest.mark.long
async def test_a_session_that_goes_on_is_ended_and_handed_back(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("ticks"), **SLOW}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=3)
            await kill(worker)
            await anyio.sleep(0.3)  # it says more, to nobody
            assert tagged(tmp_path)
            await next_start(rig)
        assert tagged(tmp_path) == []
        assert keepers(tmp_path) == []
        (resume,) = await children_of(rig, task_id)
        assert "reason:crash_recovery" in resume["tags"]


# --- what was read, and not told
@pytest.mark.parametrize(
    "moment",
    [
        "GET /api/tasks/{}$",
        *(pytest.param(x, marks=pytest.mark.long) for x in ("/finish", "/session-costs")),
    ],
)
async def test_a_session_that_had_ended_is_not_run_again(tmp_path: Path, moment: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        go = tmp_path / "go"
        env = {**rig.env, **harness("goes_on", go, 5), **SLOW}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await until(lambda: "word 0" in worker.text())
            held = proxy.hold(moment.format(task_id), times=1000)
            go.touch()
            await worker.until_logged(Event.SESSION_ENDED)
            await held.reached.wait()
            await kill(worker)
        proxy.be_open()
        held.open.set()
        await next_start(rig)
        await complete(rig, proxy, task_id)


@pytest.mark.long
async def test_a_cost_is_counted_once_whenever_the_worker_dies(tmp_path: Path):
    """The row is stored, and the worker is killed before it hears of that."""
    async with proxy_rig(tmp_path) as (rig, proxy):
        go = tmp_path / "go"
        async with worker_process(tmp_path, {**rig.env, **harness("goes_on", go, 5)}) as worker:
            task_id = await rig.submit()
            held = proxy.hold_answer("/session-costs")
            go.touch()
            await held.reached.wait()
            await kill(worker)
        held.open.set()
        await next_start(rig)
        await complete(rig, proxy, task_id)


# --- who keeps it
async def test_nobody_sleeps_for_a_session_that_has_ended(tmp_path: Path):
    go = tmp_path / "go"
    async with proxy_rig(tmp_path) as (rig, _), running_worker(rig, harness("goes_on", go, 2)):
        task_id = await rig.submit()
        await rig.until(lambda: rig.said(task_id))
        kept = keepers(tmp_path)
        assert len(kept) == 1
        go.touch()
        await rig.until_ended(task_id)
        assert not set(kept) & {info.pid for info in alive()}


@pytest.mark.long
async def test_the_third_signal_takes_the_keeper_along(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("deaf"), "SHUTDOWN_TIMEOUT": "20000"}
        async with worker_process(tmp_path, env) as worker:
            await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=2)
            kept = keepers(tmp_path)
            assert kept
            for number in range(1, 4):
                worker.signal(signal.SIGTERM)
                if number < 3:
                    await worker.until_logged(Event.WORKER_DRAINING, times=number)
            await worker.exit_code()
            await until(lambda: not set(kept) & {p.pid for p in alive()})


def alive() -> list[procfs.ProcessInfo]:
    return [info for info in procfs.snapshot().values() if not info.is_dead]
