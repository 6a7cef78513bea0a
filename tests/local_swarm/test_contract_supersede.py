"""Superseding: the task, and its resume task (docs/api.md 7.4 and 7.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local_swarm_api import Agent, Api

pytestmark = pytest.mark.anyio


async def _supersede(agent: Agent, task: Any, reason: str, status: int = 200) -> Any:
    return await agent.post(f"/api/tasks/{task['id']}/supersede", {"reason": reason}, status)


@pytest.mark.parametrize("reason", ["graceful_shutdown", "crash_recovery"])
async def test_the_work_waits_for_the_same_agent(api: Api, reason: str) -> None:
    agent = await api.agent()
    task = await agent.started("the work", dir="/d", model="m", effort="max", priority=95)
    answer = await _supersede(agent, task, reason)
    assert (answer["kind"], answer["resumeTaskStatus"]) == ("resumed", "pending")
    assert answer["task"]["status"] == "superseded"
    trigger = await agent.poll()
    resume = trigger["task"]
    assert resume["id"] == answer["resumeTaskId"]
    assert (resume["taskType"], resume["parentTaskId"]) == ("resume", task["id"])
    assert (resume["priority"], resume["source"]) == (100, "system")
    assert (resume["dir"], "model" in resume, "effort" in resume) == ("/d", False, False)
    pin = reason.replace("_", "-") + "-pin"
    assert {"auto-resume", f"reason:{reason}", "resume-generation:1", pin} <= set(resume["tags"])
    assert resume["routingAffinity"]["sourceAgentId"] == agent.id


async def test_generations_are_counted(api: Api) -> None:
    agent = await api.agent()
    await _supersede(agent, await agent.started(), "crash_recovery")
    resume = (await agent.poll())["task"]
    await _supersede(agent, resume, "crash_recovery")
    assert "resume-generation:2" in (await agent.poll())["task"]["tags"]


async def test_after_close_it_goes_to_the_pool_for_its_own_agent_or_role(api: Api) -> None:
    agent, stranger = await api.agent(), await api.agent()
    task = await agent.started("special work")
    await agent.post("/close", status=204)
    answer = await _supersede(agent, task, "graceful_shutdown")
    assert answer["resumeTaskStatus"] == "unassigned"
    tags = (await agent.read(answer["resumeTaskId"]))["tags"]
    assert "graceful-shutdown-pin" not in tags
    assert await stranger.poll() is None
    await agent.post("/ping", status=204)
    trigger = await agent.poll()
    assert trigger["taskId"] == answer["resumeTaskId"]
    assert trigger["task"]["agentId"] == agent.id


async def test_an_agent_of_the_same_role_and_capabilities_may_take_over(api: Api) -> None:
    agent, weak, able = await api.agent(), await api.agent(), await api.agent()
    role = f"role of {agent.id}"
    for each, capabilities in ((agent, ["sql"]), (weak, ["css"]), (able, ["css", "sql"])):
        path = f"/api/agents/{each.id}/profile"
        await agent.put(path, {"role": role, "capabilities": capabilities})
    task = await agent.started()
    await agent.post("/close", status=204)
    answer = await _supersede(agent, task, "graceful_shutdown")
    assert await weak.poll() is None
    assert (await able.poll())["taskId"] == answer["resumeTaskId"]


async def test_other_reasons_need_recent_activity_to_pin(api: Api) -> None:
    agent = await api.agent()
    first = await _supersede(agent, await agent.started(), "context_limits")
    assert first["resumeTaskStatus"] == "unassigned"
    task = (await agent.poll())["task"]
    await agent.put(f"/api/agents/{agent.id}/activity", status=204)
    assert (await _supersede(agent, task, "context_limits"))["resumeTaskStatus"] == "pending"


async def test_again_and_in_other_states(api: Api) -> None:
    agent, stranger = await api.agent(maxTasks=2), await api.agent()
    task = await agent.started()
    await _supersede(stranger, task, "crash_recovery", 403)
    await _supersede(agent, task, "crash_recovery")
    again = await _supersede(agent, task, "crash_recovery")
    assert (again["kind"], again["resumeTaskId"]) == ("alreadyFinished", None)
    waiting = await agent.task("waiting", priority=0)
    refused = await _supersede(agent, waiting, "crash_recovery", 400)
    assert refused["error"] == "Task status is 'pending', not 'in_progress'"
    late = await agent.finish(task, 409)
    assert late["task"]["status"] == "superseded"


async def test_what_depends_on_it_fails(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    dependent = await agent.task("later", dependsOn=[task["id"]])
    await _supersede(agent, task, "crash_recovery")
    assert (await agent.read(dependent["id"]))["status"] == "failed"
