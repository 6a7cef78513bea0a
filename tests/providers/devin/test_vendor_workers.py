"""Workers as processes whose sessions run at a vendor, on a local swarm."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_devin import FakeDevin
from fake_managed import FakeManaged
from rig import Rig, swarm_rig
from worker_process import WorkerProcess, worker_process

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("harness", ["devin", "claude-managed"])
RUNNING = ("running", "new")


@dataclass
class Swarm:
    """A swarm, a vendor, and the environment of workers between them."""

    rig: Rig
    vendor: Any
    harness: str

    @property
    def env(self) -> dict[str, str]:
        return {**self.rig.env, "HARNESS_PROVIDER": self.harness, **self.vendor.env}

    def worker(self, **more: str) -> Any:
        return worker_process(self.rig.place, {**self.env, **more})

    async def working(self, text: str = "work: 100") -> str:
        """Submit a task; return when the vendor's agent works and the worker knows it."""
        task_id = await self.rig.submit(text)

        async def look() -> bool:
            sessions = self.vendor.sessions
            return bool(sessions) and bool(await self.rig.lines(task_id))

        await self.rig.until(look, within_s=40)
        return task_id

    async def until_stopped(self) -> None:
        async def look() -> bool:
            return all(one.status not in RUNNING for one in self.vendor.sessions.values())

        await self.rig.until(look, within_s=40)


@asynccontextmanager
async def swarm(tmp_path: Path, harness: str, *, acts: bool = True) -> AsyncIterator[Swarm]:
    fake = FakeDevin(acts=acts) if harness == "devin" else FakeManaged(acts=acts)
    async with fake as vendor, swarm_rig(tmp_path) as rig:
        yield Swarm(rig, vendor, harness)


@BOTH
@pytest.mark.scenario("answer", "resume")
async def test_a_task_from_end_to_end(tmp_path: Path, harness: str):
    async with swarm(tmp_path, harness) as on, on.worker():
        task_id = await on.rig.submit("answer: All is well.")
        task = await on.rig.until_ended(task_id, within_s=40)
        assert (task["status"], task["output"]) == ("completed", "All is well."), task
        assert task["claudeSessionId"] == on.vendor.session.id
        assert task["provider"] == harness
        await on.rig.settled(task_id)
        (cost,) = await on.rig.costs(task_id)
        assert cost["totalCostUsd"] > 0
        assert "All is well." in json.dumps(await on.rig.lines(task_id))
        if harness == "devin":
            assert task["providerMeta"]["sessionUrl"].endswith(on.vendor.session.id)
        follow_up = await on.rig.submit(
            "answer: Still well.", parentTaskId=task_id, taskType="follow-up"
        )
        again = await on.rig.until_ended(follow_up, within_s=40)
        assert (again["output"], len(on.vendor.sessions)) == ("Still well.", 1)


@BOTH
@pytest.mark.scenario("cancel")
async def test_a_cancelled_task_is_ended_at_the_vendor(tmp_path: Path, harness: str):
    async with swarm(tmp_path, harness) as on, on.worker(DEVIN_POLL_INTERVAL_MS="600000"):
        task_id = await on.working()
        await on.rig.post(f"/api/tasks/{task_id}/cancel")
        await on.until_stopped()
        await on.rig.settled(task_id)
        assert (await on.rig.task(task_id))["status"] == "cancelled"


@BOTH
async def test_a_task_that_is_taken_away_is_ended_at_the_vendor(tmp_path: Path, harness: str):
    async with swarm(tmp_path, harness) as on, on.worker():
        task_id = await on.working()
        body = {"reason": "manual_supersede"}
        await on.rig.post(f"/api/tasks/{task_id}/supersede", body)
        session = next(iter(on.vendor.sessions.values()))

        async def is_stopped() -> bool:
            return session.status not in RUNNING

        await on.rig.until(is_stopped, within_s=40)


@BOTH
async def test_a_shutdown_ends_it_at_the_vendor(tmp_path: Path, harness: str):
    async with swarm(tmp_path, harness) as on, on.worker(SHUTDOWN_TIMEOUT="3000") as worker:
        await on.working()
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0, worker.text()
        await on.until_stopped()


async def killed(on: Swarm, worker: WorkerProcess) -> None:
    worker.signal(signal.SIGKILL)
    await worker.exit_code()


@BOTH
@pytest.mark.scenario("replay")
async def test_the_next_start_ends_what_a_killed_worker_left(tmp_path: Path, harness: str):
    async with swarm(tmp_path, harness) as on:
        async with on.worker() as worker:
            task_id = await on.working()
            await killed(on, worker)
        assert on.vendor.session.status == "running"
        on.vendor.says(on.vendor.session, "Said to nobody.")
        on.vendor.acts = False
        async with on.worker():
            task = await on.rig.until_ended(task_id, within_s=40)
            assert task["status"] == "superseded", task
            await on.until_stopped()

            async def is_told() -> bool:
                return "Said to nobody." in json.dumps(await on.rig.lines(task_id))

            await on.rig.until(is_told)


@BOTH
async def test_what_finished_while_no_worker_ran_is_finished(tmp_path: Path, harness: str):
    async with swarm(tmp_path, harness) as on:
        async with on.worker() as worker:
            task_id = await on.working("work: 2")
            await killed(on, worker)

        async def is_done() -> bool:
            session = on.vendor.session
            return session.status == "idle" or getattr(session, "detail", None) == "finished"

        await on.rig.until(is_done)
        async with on.worker():
            task = await on.rig.until_ended(task_id, within_s=40)
            assert (task["status"], task["output"]) == ("completed", "done"), task
            assert len(on.vendor.sessions) == 1


@BOTH
async def test_no_second_session_runs_beside_one_that_cannot_be_ended(tmp_path: Path, harness: str):
    async with swarm(tmp_path, harness) as on:
        async with on.worker() as worker:
            task_id = await on.working()
            await killed(on, worker)
        on.vendor.fail(".", 503, times=10_000)
        async with on.worker(SHUTDOWN_TIMEOUT="3000") as worker:

            async def is_up() -> bool:
                return bool(worker.logged(Event.WORKER_STARTED))

            await on.rig.until(is_up, within_s=90)  # it has tried to end the session
            assert worker.logged(Event.SESSION_HUNG)
            assert (await on.rig.task(task_id))["status"] == "in_progress"
            on.vendor.faults.clear()
            await on.until_stopped()
            await on.rig.until_status(task_id, "superseded", within_s=40)


@BOTH
@pytest.mark.scenario("401")
async def test_a_refused_key_fails_the_task(tmp_path: Path, harness: str):
    async with swarm(tmp_path, harness) as on:
        on.vendor.fail(
            "POST .*sessions$", 401, body={"error": {"message": "no such key"}}, times=99
        )
        async with on.worker(CRED_CHECK_DISABLE="1"):
            task = await on.rig.until_ended(await on.rig.submit("answer: x"), within_s=40)
            assert task["status"] == "failed"
            assert "no such key" in task["failureReason"]


async def test_polls_that_fail_end_the_task_and_the_session(tmp_path: Path):
    async with swarm(tmp_path, "devin") as on, on.worker():
        task_id = await on.working()
        on.vendor.fail(r"GET .*/sessions/[^/]+$", 500, times=10_000)
        task = await on.rig.until_ended(task_id, within_s=60)
        assert task["status"] == "failed"
        assert "10 failures in succession" in task["failureReason"]
        await on.until_stopped()
