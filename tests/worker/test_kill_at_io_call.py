"""A worker is killed at any call that writes to its disk or the network.

From the poll that brings a task to the end of what there is to tell about it, as a process of its
own on a real disk and a real network; `tests/model` tells the same of a played world.
"""

from __future__ import annotations

import itertools
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from patience import until
from recording_proxy import proxy_rig
from rig import AGENT, Rig, harness, running_worker
from worker_process import WorkerProcess, has_died, killed_at_call, tagged, worker_process

pytestmark = pytest.mark.anyio

LAST = 230
"""A short task has about as many such calls; a start that cleans up has about half of them."""
LONG = pytest.mark.long


def some(every: int, instants: Iterable[Any]) -> list[Any]:
    """Return some for every day, and all the others for a longer run."""
    return [
        pytest.param(instant, marks=[] if number % every == 0 else [LONG])
        for number, instant in enumerate(instants)
    ]


@pytest.mark.long
@pytest.mark.parametrize("at", some(24, range(1, LAST, 4)))
async def test_its_work_is_done_once_and_told_once(tmp_path: Path, at: int):
    async with proxy_rig(tmp_path) as (rig, _):
        async with killed(rig, tmp_path, at):
            await next_start(rig, tmp_path)
        await check(rig, tmp_path)
        assert tagged(tmp_path) == []


@pytest.mark.parametrize("ats", some(45, itertools.product((70, 120, 170), range(1, 120, 8))))
async def test_so_it_is_if_the_next_is_killed_as_well(tmp_path: Path, ats: tuple[int, int]):
    first, second = ats
    async with proxy_rig(tmp_path) as (rig, _):
        async with killed(rig, tmp_path, first):
            (tmp_path / "died at").unlink(missing_ok=True)
            env = {
                **rig.env,
                **harness("lives_briefly", tmp_path),
                **killed_at_call(tmp_path, second, "life"),
            }
            async with worker_process(tmp_path, env) as worker:
                await end(rig, tmp_path, worker)
                await next_start(rig, tmp_path)
        await check(rig, tmp_path)


@asynccontextmanager
async def killed(rig: Rig, place: Path, at: int) -> AsyncIterator[None]:
    """Have a worker killed at some time after a task came."""
    env = {**rig.env, **harness("lives_briefly", place), **killed_at_call(place, at, "life")}
    async with worker_process(place, env) as worker:
        await until(lambda: "worker.started" in worker.text())
        (place / "go").touch()
        await rig.submit()
        await end(rig, place, worker)
        yield


async def end(rig: Rig, place: Path, worker: WorkerProcess) -> None:
    """Wait for its end; kill it in the end if it had fewer calls than others."""
    await rig.until(lambda: died_or_done(rig, place))
    with suppress(ProcessLookupError):
        worker.signal(signal.SIGKILL)
    await worker.exit_code()


async def next_start(rig: Rig, place: Path) -> None:
    async with running_worker(rig, harness("lives_briefly", place), drain_ms=3000):
        await rig.until(lambda: all_is_over(rig))


async def died_or_done(rig: Rig, place: Path) -> bool:
    return has_died(place) or await all_is_over(rig)


async def all_tasks(rig: Rig) -> list[dict[str, Any]]:
    return list((await rig.get("/api/tasks", fields="full", limit=100))["tasks"])


async def all_is_over(rig: Rig) -> bool:
    rows = (await rig.get("/api/active-sessions", agentId=AGENT))["sessions"]
    over = {"completed", "failed", "cancelled", "superseded"}
    return not rows and {task["status"] for task in await all_tasks(rig)} <= over


async def check(rig: Rig, place: Path) -> None:
    tasks = await all_tasks(rig)
    runs = {path.name[4:]: path.read_text().splitlines() for path in place.glob("run-*")}
    ended = [name for name, notes in runs.items() if "ended" in notes]
    # Done once: by the task, or by one that took it up.
    assert Counter(task["status"] for task in tasks)["completed"] == 1
    assert {task["status"] for task in tasks} <= {"completed", "superseded"}
    assert len(ended) == 1, "what had ended was run again"
    (done,) = [task for task in tasks if task["status"] == "completed"]
    assert done["output"] == f"{ended[0]} is done"
    # Told once, and in order.
    told = [text for task in tasks for text in await rig.said(task["id"])]
    starts = [
        event["data"]["toolCallId"]
        for task in tasks
        for event in await rig.events(task["id"])
        if event["event"] == "tool.start"
    ]
    for name, notes in runs.items():
        said = [f"{name} says {note[5:]}" for note in notes if note.startswith("said")]
        of_it = [text for text in told if text.startswith(f"{name} ")]
        assert of_it[: len(said)] == said
        assert len(of_it) == len(set(of_it))
        if "called" in notes:
            assert starts.count(f"t-{name}") == 1
    costs = [cost for task in tasks for cost in await rig.costs(task["id"])]
    assert [cost["totalCostUsd"] for cost in costs].count(0.25) == 1
