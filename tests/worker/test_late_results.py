"""A task that ended or was reassigned keeps its result; ours goes to its log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from patience import until
from recording_proxy import proxy_rig
from rig import AGENT, Rig, harness, running_worker

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio


async def late_results(rig: Rig, task_id: str) -> list[dict[str, Any]]:
    return [line for line in await rig.lines(task_id) if line["type"] == "late_result"]


async def until_kept(rig: Rig, task_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await rig.until(lambda: late_results(rig, task_id))
    return found


@pytest.mark.long
@pytest.mark.parametrize("verb", ["cancel", "supersede"])
async def test_what_a_task_that_was_taken_came_to_is_in_its_log(tmp_path: Path, verb: str):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("chats", 3)):
        task_id = await rig.submit()
        await until(lambda: len(rig.logged(Event.SESSION_OUTPUT)) >= 4)
        await rig.post(f"/api/tasks/{task_id}/{verb}", {"reason": "manual_supersede"})
        (line,) = await until_kept(rig, task_id)
        assert (line["status"], line["content"]) == ("failed", "word 2")
        rows = await rig.logs(task_id)
        assert json.loads(rows[-1]["content"]) == line
        assert not proxy.seen("/finish")


async def test_a_result_that_comes_after_another_does_not_replace_it(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("says_hi")):
        held = proxy.hold("/finish")
        task_id = await rig.submit()
        await held.reached.wait()
        body = {"status": "failed", "failureReason": "I lost patience"}
        await rig.post(f"/api/tasks/{task_id}/finish", body, **{"X-Agent-ID": AGENT})
        held.open.set()
        (line,) = await until_kept(rig, task_id)
        assert (line["status"], line["content"]) == ("completed", "hi there")
        task = await rig.task(task_id)
        assert (task["status"], task["failureReason"]) == ("failed", "I lost patience")


async def test_a_success_of_a_task_that_was_failed_meanwhile_is_kept(tmp_path: Path):
    go_on = tmp_path / "go-on"
    async with proxy_rig(tmp_path) as (rig, _), running_worker(rig, harness("waits", go_on)):
        task_id = await rig.submit()
        await rig.until(lambda: rig.lines(task_id))
        body = {"status": "failed", "failureReason": "Auto-failed by a sweep"}
        await rig.post(f"/api/tasks/{task_id}/finish", body, **{"X-Agent-ID": AGENT})
        go_on.touch()
        (line,) = await until_kept(rig, task_id)
        assert (line["status"], line["content"]) == ("completed", "done at last")
        assert (await rig.task(task_id))["status"] == "failed"


async def test_an_agent_that_ended_its_task_itself_leaves_no_second_word(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        async with running_worker(rig, harness("finishes_itself", rig.url)):
            task_id = await rig.submit()
            await rig.until_ended(task_id)
            await rig.settled(task_id)
        assert await late_results(rig, task_id) == []
