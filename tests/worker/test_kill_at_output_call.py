"""A worker is killed at any system call that reads or records output."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from patience import until
from recording_proxy import proxy_rig
from rig import Rig, harness, running_worker
from worker_process import has_died, killed_at_call, tagged, worker_process

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

INSTANTS = [
    *((at, "output") for at in range(1, 171, 5)),
    *((at, "half") for at in range(1, 41, 2)),
]
"""A session has about 170 such calls, and 40 writes."""
AT_LEAST = {"output": 96, "half": 24}
"""It says that many lines, one after another, and each takes a write and three other calls."""
EVERY = 11
LONG = pytest.mark.long


def instants() -> list[object]:
    """Return some for every day, and all the others for a longer run."""
    return [
        pytest.param(at, half, marks=[] if number % EVERY == 0 else [LONG])
        for number, (at, half) in enumerate(INSTANTS)
    ]


@pytest.mark.long
@pytest.mark.parametrize(("at", "calls"), instants())
async def test_nothing_is_lost_and_nothing_told_twice(tmp_path: Path, at: int, calls: str):
    async with proxy_rig(tmp_path) as (rig, _):
        async with killed(rig, tmp_path, at, calls) as task_id:
            await next_start(rig)
        await rig.until_ended(task_id)
        await rig.settled(task_id)
        await check(rig, tmp_path, task_id)
        assert tagged(tmp_path) == []


@pytest.mark.parametrize("calls", ["half", pytest.param("output", marks=LONG)])
@pytest.mark.parametrize(
    "at", [2, *(pytest.param(n, marks=LONG) for n in (1, 3, *range(4, 40, 3)))]
)
async def test_a_start_that_is_killed_in_turn_loses_nothing_either(
    tmp_path: Path, at: int, calls: str
):
    async with proxy_rig(tmp_path) as (rig, _):
        async with killed(rig, tmp_path, 12, "half") as task_id:
            (tmp_path / "died at").unlink()
            env = {**rig.env, **harness("waits", "/nowhere"), **killed_at_call(tmp_path, at, calls)}
            async with worker_process(tmp_path, env) as worker:
                await until(lambda: has_died(tmp_path) or worker.logged(Event.TASK_STARTED))
                with suppress(ProcessLookupError):
                    worker.signal(signal.SIGKILL)
                await worker.exit_code()
                await next_start(rig)
        await rig.until_ended(task_id)
        await rig.settled(task_id)
        await check(rig, tmp_path, task_id)


@asynccontextmanager
async def killed(rig: Rig, place: Path, at: int, calls: str) -> AsyncIterator[str]:
    """Have a worker killed while its session speaks; return its task."""
    env = {**rig.env, **harness("keeps_count", place), **killed_at_call(place, at, calls)}
    async with worker_process(place, env) as worker:
        task_id = await rig.submit()
        await worker.until_logged(Event.SESSION_OUTPUT)
        (place / "go").touch()
        await until(lambda: has_died(place) or worker.logged(Event.SESSION_ENDED))
        assert has_died(place) or at > AT_LEAST[calls], "it was not killed at the call"
        with suppress(ProcessLookupError):
            worker.signal(signal.SIGKILL)  # in case it had fewer calls than others
        await worker.exit_code()
        yield task_id


async def next_start(rig: Rig) -> None:
    async with running_worker(rig, harness("waits", "/nowhere"), drain_ms=3000):
        await until(lambda: not rig.logged(Event.TASK_STARTED))


async def check(rig: Rig, place: Path, task_id: str) -> None:
    told = [int(text.split()[0]) for text in await rig.said(task_id)]
    said = [int(number) for number in (place / "said").read_text().split()]
    assert told[: len(said)] == said
    assert told == list(range(len(told)))  # what it was saying may have got there
    lines = [line for line in await rig.lines(task_id) if line["type"] == "stderr"]
    complaints = [text for line in lines for text in line["content"].splitlines()]
    complained = (place / "complained").read_text().splitlines()
    assert complaints[: len(complained)] == complained
    assert len(complaints) - len(complained) in {0, 1}
    if (place / "ended").exists():
        task = await rig.task(task_id)
        assert (task["status"], task["output"]) == ("completed", "it is done")
        assert len(await rig.costs(task_id)) == 1
