"""Stops one worker process at a chosen moment, and checks what its next start does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from patience import until
from recording_proxy import Held, RecordingProxy, Swarm, restartable_rig
from rig import Rig, harness, running_worker
from worker_process import WorkerProcess, tagged, worker_process

from agent_swarm_worker.logs import Event

CHILDREN = ("ends", "deaf", "holds", "prints")
TROUBLES = ("none", "hangs", "refuses", "fails", "drips")
MOMENTS = ("boot", "idle", "preparing", "running", "finishing", "paused")
BUDGET_S = 3.0
SLACK_S = 0.7
BUSY_SLACK_S = 6.0


@dataclass(frozen=True)
class Case:
    """When the signal comes, what runs then, and what is wrong with the API."""

    moment: str
    child: str
    trouble: str

    def __str__(self) -> str:
        return f"{self.moment}-{self.child}-{self.trouble}"


def all_cases() -> list[Case]:
    """Every combination that differs: before and after a session there is no child."""
    children = {"running": CHILDREN, "finishing": ("ends", "holds")}
    return [
        Case(moment, child, trouble)
        for moment in MOMENTS
        for child in children.get(moment, ("ends",))
        for trouble in TROUBLES
    ]


class HarnessFixture:
    """The swarm, its proxy, and the faults of both."""

    def __init__(
        self, case: Case, place: Path, rig: Rig, proxy: RecordingProxy, swarm: Swarm
    ) -> None:
        self.case, self.rig, self.proxy = case, rig, proxy
        self._swarm, self._place = swarm, place
        self._held: list[Held] = []
        self.go_on = place / "go-on"
        self.env = {
            **rig.env,
            **harness("drains", case.child, self.go_on),
            "SHUTDOWN_TIMEOUT": str(round(BUDGET_S * 1000)),
        }

    async def make_trouble(self) -> None:
        match self.case.trouble:
            case "hangs":
                self._held.append(self.proxy.hold(".", times=1_000_000))
            case "refuses":
                await self._swarm.stop()
            case "fails":
                self.proxy.refuse(".", 500)
            case "drips":
                self.proxy.drip(".")

    async def make_good(self) -> None:
        self.proxy.be_open()
        for held in self._held:
            held.open.set()
        if self.case.trouble == "refuses":
            await self._swarm.start()

    async def reach_the_moment(self, worker: WorkerProcess) -> str | None:
        """Bring the worker to the moment of the case; return its task, if it has one."""
        moment, rig = self.case.moment, self.rig
        if moment == "boot":
            await until(lambda: self.proxy.visits or worker.logged(Event.API_UNREACHABLE))
            return None
        await worker.until_logged(Event.WORKER_STARTED)
        if moment == "idle":
            return None
        if moment == "preparing":
            held = self.proxy.hold("prompt-templates/render", times=100)
            self._held.append(held)
            task_id = await rig.submit()
            await held.reached.wait()
            return task_id
        task_id = await rig.submit()
        await worker.until_logged(Event.SESSION_OUTPUT, times=2)
        if moment == "paused":
            await rig.post(f"/api/tasks/{task_id}/pause")
            await worker.until_logged(Event.SESSION_ENDED)
        return task_id

    async def end_in_time(self, worker: WorkerProcess) -> None:
        """Send the signal; the worker has to be gone within its budget, with all it started."""
        begin_s = time.monotonic()
        worker.signal()
        if self.case.moment != "finishing":
            await worker.until_logged(Event.WORKER_DRAINING)
            self.go_on.touch()
        assert await worker.exit_code() == 0
        # From its own words: on a busy machine the end of an interpreter alone may take seconds.
        assert _between(worker, Event.WORKER_DRAINING, Event.WORKER_STOPPED) < BUDGET_S + SLACK_S
        assert time.monotonic() - begin_s < BUDGET_S + BUSY_SLACK_S
        assert tagged(self._place) == []


def _between(worker: WorkerProcess, begin: Event, end: Event) -> float:
    """Return the seconds from one word of the worker to another."""
    first, last = (worker.logged(event)[0]["timestamp"] for event in (begin, end))
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


async def play(case: Case, place: Path) -> None:
    """Run one case from the first start to the end of the second."""
    async with restartable_rig(place) as (rig, proxy, swarm):
        stage = HarnessFixture(case, place, rig, proxy, swarm)
        if case.moment == "boot":
            await stage.make_trouble()
        async with worker_process(place, stage.env) as worker:
            task_id = await stage.reach_the_moment(worker)
            if case.moment != "boot":
                await stage.make_trouble()
            if case.moment == "finishing":
                stage.go_on.touch()
                await worker.until_logged(Event.SESSION_ENDED)
            await stage.end_in_time(worker)
            said = len(worker.logged(Event.SESSION_OUTPUT))
        await stage.make_good()
        stage.go_on.touch()
        if case.moment == "paused":
            await rig.post(f"/api/tasks/{task_id}/resume")
        async with running_worker(rig, harness("drains", "ends", stage.go_on)):
            if task_id is None:
                await rig.until_ended(await rig.submit())
            else:
                await _all_is_told(stage, task_id, said)


async def _all_is_told(stage: HarnessFixture, task_id: str, said: int) -> None:
    """The work was done once, and everything that was said has arrived."""
    rig, moment = stage.rig, stage.case.moment
    row = await rig.until_ended(task_id)
    resumes = await _children(rig, task_id)
    has_ended = stage.case.child == "ends" and moment in {"running", "finishing"}
    if row["status"] == "superseded" and not has_ended:
        (resume,) = resumes
        resume = await rig.until_ended(resume["id"])
        assert (resume["status"], resume["output"]) == ("completed", "done at last")
    else:
        assert (row["status"], row["output"], resumes) == ("completed", "done at last", [])
    if moment in {"running", "finishing"}:
        await _lines_are_there_once(rig, task_id, said)
        # What was asked for once ran once: here, or in the worker that is gone.
        begun = [line["task"] for line in rig.logged(Event.TASK_STARTED)]
        assert task_id not in begun


async def _lines_are_there_once(rig: Rig, task_id: str, said: int) -> None:
    async def look() -> list[Any]:
        lines = await rig.lines(task_id)
        return lines if len(lines) >= said else []

    lines = await rig.until(look)
    kinds = [line["type"] for line in lines]
    assert kinds.count("system") == 1
    assert kinds.count("result") <= 1
    assert [line["type"] for line in lines[:2]] == ["system", "assistant"]


async def _children(rig: Rig, task_id: str) -> list[dict[str, Any]]:
    rows = (await rig.get("/api/tasks", fields="full", limit=100))["tasks"]
    found = [row for row in rows if row.get("parentTaskId") == task_id]
    assert len(found) <= 1
    return found
