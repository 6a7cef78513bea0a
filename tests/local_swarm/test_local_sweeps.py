"""Sweeps, run by hand on a manual clock (docs/api.md 16)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from local_swarm_api import PUBLIC_URL, Api, HandClock, client

from agent_swarm_worker.ids import counted_ids
from agent_swarm_worker.local_swarm.serve import LocalSwarm

if TYPE_CHECKING:
    from pathlib import Path

    from local_swarm_api import Agent, Local

pytestmark = pytest.mark.anyio


async def _session(agent: Agent, task: Any) -> None:
    body = {"agentId": agent.id, "taskId": task["id"], "triggerType": "task_assigned"}
    await agent.post("/api/active-sessions", body, 201)


async def _sweep(local: Local) -> None:
    answer = await local.http.post("/api/heartbeat/sweep")
    assert answer.status_code == 200


async def _status(agent: Agent, task: Any) -> str:
    return str((await agent.read(task["id"]))["status"])


async def _children(agent: Agent, task: Any) -> list[Any]:
    listed = (await agent.get("/api/tasks?fields=full&limit=100"))["tasks"]
    return [row for row in listed if row.get("parentTaskId") == task["id"]]


# --- dead sessions
async def test_five_minutes_without_a_session_row_supersede(local: Local) -> None:
    agent = await local.agent()
    task = await agent.started("work")
    local.clock.move(299)
    await _sweep(local)
    assert await _status(agent, task) == "in_progress"
    local.clock.move(1)
    await _sweep(local)
    assert await _status(agent, task) == "superseded"
    (resume,) = await _children(agent, task)
    assert "reason:crash_recovery" in resume["tags"]
    assert (resume["status"], resume["agentId"]) == ("pending", agent.id)


async def test_a_heartbeat_keeps_a_quiet_task_alive(local: Local) -> None:
    agent = await local.agent()
    task = await agent.started()
    await _session(agent, task)
    for _ in range(6):
        local.clock.move(600)
        beat = await agent.put(f"/api/active-sessions/heartbeat/{task['id']}")
        assert beat == {"updated": True}
        await _sweep(local)
    assert await _status(agent, task) == "in_progress"


async def test_a_stale_heartbeat_and_a_quiet_task_supersede_after_15_minutes(local: Local) -> None:
    agent = await local.agent()
    task = await agent.started()
    await _session(agent, task)
    local.clock.move(800)
    await agent.post(f"/api/tasks/{task['id']}/progress", {"progress": "still there"})
    local.clock.move(320)
    await _sweep(local)
    assert await _status(agent, task) == "in_progress"
    local.clock.move(800)
    await _sweep(local)
    assert await _status(agent, task) == "superseded"
    # The worker can tell: its row is gone.
    beat = await agent.put(f"/api/active-sessions/heartbeat/{task['id']}")
    assert beat == {"updated": False}


async def test_a_fresh_message_postpones_the_end(local: Local) -> None:
    agent = await local.agent()
    task = await agent.started()
    local.clock.move(290)
    await agent.post(f"/api/tasks/{task['id']}/steer", {"message": "hello?"})
    local.clock.move(200)
    await _sweep(local)
    assert await _status(agent, task) == "in_progress"
    local.clock.move(200)
    await _sweep(local)
    assert await _status(agent, task) == "superseded"


async def test_after_three_resumes_it_fails(local: Local) -> None:
    agent = await local.agent()
    task = await agent.started("cursed")
    for _ in range(3):
        local.clock.move(301)
        await _sweep(local)
        task = (await agent.poll())["task"]
    assert "resume-generation:3" in task["tags"]
    local.clock.move(301)
    await _sweep(local)
    failed = await agent.read(task["id"])
    assert (failed["status"], failed["failureReason"]) == ("failed", "resume_budget_exhausted")
    assert await agent.poll() is None


async def test_tasks_of_the_system_are_failed_not_resumed(local: Local) -> None:
    agent = await local.agent()
    task = await agent.started(taskType="heartbeat")
    local.clock.move(301)
    await _sweep(local)
    assert await _status(agent, task) == "failed"
    assert await _children(agent, task) == []


async def test_a_circle_of_dependencies_comes_to_an_end() -> None:
    if PUBLIC_URL:
        pytest.skip("needs the local swarm")
    async with LocalSwarm(ids=counted_ids()) as swarm, client(swarm.url, "") as http:
        agent = await Api(http).agent()
        first, second = [await agent.task() for _ in range(2)]
        step = uuid.UUID(second["id"]).int - uuid.UUID(first["id"]).int
        future = str(uuid.UUID(int=uuid.UUID(second["id"]).int + 2 * step))
        one = await agent.task(dependsOn=[future])
        other = await agent.task(dependsOn=[one["id"]])
        assert other["id"] == future
        await agent.post(f"/api/tasks/{one['id']}/cancel")
        assert [await _status(agent, task) for task in (one, other)] == ["cancelled", "failed"]


async def test_what_fails_with_another_is_not_resumed_on_its_own(local: Local) -> None:
    agent = await local.agent(maxTasks=5)
    first = await agent.started("first")
    second = await agent.task("second", dependsOn=[first["id"]])
    # Progress starts any task, even one that should still wait.
    await agent.post(f"/api/tasks/{second['id']}/progress", {"progress": "too eager"})
    local.clock.move(301)
    await _sweep(local)
    assert [await _status(agent, task) for task in (first, second)] == ["superseded", "failed"]
    assert await _children(agent, second) == []


# --- a restart of the server
async def test_a_restart_fails_what_does_not_heartbeat_and_retries_it(tmp_path: Path) -> None:
    if PUBLIC_URL:
        pytest.skip("needs the local swarm")
    clock, db = HandClock(), tmp_path / "swarm.sqlite"
    async with LocalSwarm(db, clock=clock) as swarm, client(swarm.url, "") as http:
        agent = await Api(http).agent(maxTasks=5)
        quiet, lively, lost = [await agent.started(text) for text in ("quiet", "lively", "lost")]
        for task in (quiet, lively):
            await _session(agent, task)
    clock.move(60)
    async with LocalSwarm(db, clock=clock) as swarm, client(swarm.url, "") as http:
        agent.http = http
        await agent.put(f"/api/active-sessions/heartbeat/{lively['id']}")
        clock.move(4.9)
        await anyio.wait_all_tasks_blocked()
        assert await _status(agent, quiet) == "in_progress"
        clock.move(0.2)
        await anyio.wait_all_tasks_blocked()
        assert [await _status(agent, task) for task in (quiet, lively, lost)] == [
            "failed",
            "in_progress",
            "failed",
        ]
        (retry,) = await _children(agent, quiet)
        assert (retry["task"], retry["status"]) == ("quiet", "pending")
        assert set(retry["tags"]) == {"reboot-retry", "auto-generated", "reboot-retry-pin"}
        # Its own late finish is told that it came too late.
        await agent.finish(quiet, 409, status="completed", output="done after all")


async def test_the_server_sweeps_by_itself(tmp_path: Path) -> None:
    if PUBLIC_URL:
        pytest.skip("needs the local swarm")
    clock = HandClock()
    async with LocalSwarm(clock=clock) as swarm, client(swarm.url, "") as http:
        agent = await Api(http).agent()
        clock.move(5)
        await anyio.wait_all_tasks_blocked()
        task = await agent.started()
        clock.move(290)
        await anyio.wait_all_tasks_blocked()
        assert await _status(agent, task) == "in_progress"
        clock.move(90)
        await anyio.wait_all_tasks_blocked()
        assert await _status(agent, task) == "superseded"


# --- tidying up
async def test_offers_are_given_back(local: Local) -> None:
    agent, other = await local.agent(), await local.agent()
    offer = await agent.task("for other?", mine=False, offeredTo=other.id)
    await other.poll()
    local.clock.move(1801)
    await _sweep(local)
    assert await _status(agent, offer) == "offered"
    await other.post("/close", status=204)
    await _sweep(local)
    assert await _status(agent, offer) in {"unassigned", "pending"}
    assert (await agent.poll())["taskId"] == offer["id"]


async def test_statuses_are_put_right(local: Local) -> None:
    agent = await local.agent()
    task = await agent.started()
    path = f"/api/agents/{agent.id}/credential-status"
    assert (await agent.put(path, {"ready": True}))["status"] == "idle"
    await _sweep(local)
    assert await agent.status() == "busy"
    await agent.post(f"/api/tasks/{task['id']}/pause")
    assert await agent.status() == "busy"
    await _sweep(local)
    assert await agent.status() == "idle"


async def test_idle_agents_are_given_pool_tasks_they_have_room_for(local: Local) -> None:
    agent = await local.agent(maxTasks=2)
    pooled = [await agent.task(f"pool {number}", mine=False) for number in range(3)]
    await _sweep(local)
    states = [await _status(agent, task) for task in pooled]
    assert states == ["pending", "pending", "unassigned"]
    await _sweep(local)
    assert [await _status(agent, task) for task in pooled] == states


async def test_a_pin_nobody_claims_is_for_the_lead_to_decide(local: Local) -> None:
    agent, lead = await local.agent(), await local.agent(isLead=True)
    task = await agent.started("orphaned work")
    superseded = await agent.post(
        f"/api/tasks/{task['id']}/supersede", {"reason": "graceful_shutdown"}
    )
    local.clock.move(590)
    await _sweep(local)
    assert await lead.poll() is None
    local.clock.move(20)
    await _sweep(local)
    assert (await agent.read(superseded["resumeTaskId"]))["status"] == "cancelled"
    decision = (await lead.poll())["task"]
    assert (decision["taskType"], decision["parentTaskId"]) == ("reroute-decision", task["id"])
    assert await agent.poll() is None


async def test_without_a_lead_the_pin_waits(local: Local) -> None:
    agent = await local.agent()
    task = await agent.started()
    await agent.post(f"/api/tasks/{task['id']}/supersede", {"reason": "crash_recovery"})
    local.clock.move(10_000)
    await _sweep(local)
    assert (await agent.poll())["task"]["taskType"] == "resume"


async def test_a_lead_leaves_the_pool_to_others(local: Local) -> None:
    agent = await local.agent()
    pooled = await agent.task(mine=False)
    lead = await local.agent(isLead=True)
    assert await lead.poll() is None
    assert (await agent.poll())["taskId"] == pooled["id"]


async def test_a_lead_takes_what_nobody_is_named_for_and_hears_of_results(local: Local) -> None:
    lead, agent = await local.agent(isLead=True, maxTasks=9), await local.agent()
    unnamed = await agent.task("for whoever", mine=False)
    assert (unnamed["agentId"], unnamed["status"]) == (lead.id, "pending")
    assert (await lead.poll())["taskId"] == unnamed["id"]
    done = await agent.started("done well")
    await agent.finish(done, status="completed", output="the outcome")
    follow_up = (await lead.poll())["task"]
    assert (follow_up["taskType"], follow_up["parentTaskId"]) == ("follow-up", done["id"])
    assert "the outcome" in follow_up["task"]
    await agent.finish(done, status="completed", output="the outcome")
    assert await lead.poll() is None
    # A lead is not told of what it did itself.
    await lead.finish(follow_up)
    assert await lead.poll() is None
