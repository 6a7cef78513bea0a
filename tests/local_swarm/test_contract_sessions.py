"""Active sessions, orphans, steering (docs/api.md 6 and 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local_swarm_api import Agent, Api, Local

pytestmark = pytest.mark.anyio


async def _session(agent: Agent, task: Any, status: int = 201) -> Any:
    body = {"agentId": agent.id, "taskId": task["id"], "triggerType": "task_assigned"}
    return await agent.post("/api/active-sessions", body, status)


# --- sessions
async def test_a_task_has_one_session_and_a_second_is_500(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    session = (await _session(agent, task))["session"]
    assert session["taskId"] == task["id"]
    assert session["providerSessionId"] is None
    refused = await _session(agent, task, 500)
    assert "UNIQUE constraint failed" in refused["error"]
    path = f"/api/active-sessions/by-task/{task['id']}"
    assert (await agent.call("DELETE", path)).json() == {"deleted": True}
    assert (await agent.call("DELETE", path)).json() == {"deleted": False}
    await _session(agent, task)


async def test_heartbeat_says_whether_the_row_is_still_there(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    path = f"/api/active-sessions/heartbeat/{task['id']}"
    assert await agent.put(path) == {"updated": False}
    await _session(agent, task)
    assert await agent.put(path) == {"updated": True}
    cleaned = await agent.post("/api/active-sessions/cleanup", {"agentId": agent.id})
    assert cleaned == {"cleaned": 1}
    assert await agent.put(path) == {"updated": False}


async def test_the_provider_session_is_kept(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    path = f"/api/active-sessions/provider-session/{task['id']}"
    assert await agent.put(path, {"providerSessionId": "p"}) == {"updated": False}
    await _session(agent, task)
    assert await agent.put(path, {"providerSessionId": "p"}) == {"updated": True}
    listed = (await agent.get(f"/api/active-sessions?agentId={agent.id}"))["sessions"]
    assert [session["providerSessionId"] for session in listed] == ["p"]


async def test_only_what_never_began_is_an_orphan(local: Local) -> None:
    agent = await local.agent(maxTasks=9)
    names = ("orphan", "has session", "has harness", "paused", "fresh")
    tasks = {name: await agent.started(name) for name in names[:4]}
    await _session(agent, tasks["has session"])
    session = {"claudeSessionId": "s"}
    await agent.put(f"/api/tasks/{tasks['has harness']['id']}/session", session)
    await agent.post(f"/api/tasks/{tasks['paused']['id']}/pause")
    local.clock.move(61)
    await agent.started("fresh")
    recover = {"agentId": agent.id, "minAgeSeconds": 60}
    path = "/api/active-sessions/recover-orphaned-tasks"
    answer = await agent.post(path, recover)
    assert answer["recovered"] == 1
    assert [task["task"] for task in answer["tasks"]] == ["orphan"]
    assert answer["tasks"][0]["status"] == "pending"
    assert await agent.post(path, recover) == {"recovered": 0, "tasks": []}
    assert (await agent.poll())["taskId"] == tasks["orphan"]["id"]


# --- steering
async def _steer(agent: Agent, task: Any, **words: Any) -> Any:
    return await agent.post(f"/api/tasks/{task['id']}/steer", {"message": "look left", **words})


async def test_a_message_is_pending_until_it_is_delivered_and_handled(api: Api) -> None:
    agent, stranger = await api.agent(), await api.agent()
    task = await agent.started()
    asked = await _steer(agent, task, mode="steer")
    assert (asked["outcome"], asked["effectiveMode"]) == ("queued", "queue")
    assert asked["degradedFrom"] == "steer"
    path = f"/api/steering-messages?taskId={task['id']}"
    (pending,) = (await agent.get(path))["messages"]
    # The row says what was asked for, not what it was degraded to.
    assert (pending["mode"], pending["body"]) == ("steer", "look left")
    assert await stranger.get(path) == {"messages": []}
    message = f"/api/steering-messages/{pending['id']}"
    await stranger.post(f"{message}/delivered", {"mode": "queue"}, 403)
    delivered = (await agent.post(f"{message}/delivered", {"mode": "queue"}))["message"]
    assert (delivered["status"], delivered["deliveredMode"]) == ("delivered", "queue")
    again = (await agent.post(f"{message}/delivered", {"mode": "steer"}))["message"]
    assert again == delivered
    handled = (await agent.post(f"{message}/handled", {"note": "n" * 600}))["message"]
    assert (handled["status"], len(handled["handledNote"])) == ("handled", 500)
    assert (await agent.get("/api/steering-messages"))["messages"] == []
    history = await agent.get(f"/api/tasks/{task['id']}/steering-messages?status=pending")
    assert [row["status"] for row in history["messages"]] == ["handled"]


async def test_an_undeliverable_message_becomes_a_task_once(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    asked = await _steer(agent, task)
    path = f"/api/steering-messages/{asked['steeringMessageId']}/undeliverable"
    first = await agent.post(path, {"reason": "no stdin"})
    assert first["message"]["status"] == "promoted"
    follow_up = await agent.read(first["promotedTaskId"])
    assert (follow_up["task"], follow_up["status"]) == ("look left", "pending")
    assert (follow_up["taskType"], follow_up["parentTaskId"]) == ("follow-up", task["id"])
    assert follow_up["agentId"] == agent.id
    assert await agent.post(path, {"reason": "no stdin"}) == first


async def test_a_message_nobody_delivered_is_promoted_when_the_task_ends(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    await _steer(agent, task)
    await agent.finish(task)
    assert (await agent.poll())["task"]["task"] == "look left"
    late = await _steer(agent, task, message="too late")
    assert late["outcome"] == "promoted"
    assert (await agent.read(late["promotedTaskId"]))["task"] == "too late"


async def test_a_harness_that_can_be_steered_is(api: Api) -> None:
    agent = await api.agent(harness_provider="pi")
    task = await agent.started()
    assert (await _steer(agent, task, mode="steer"))["outcome"] == "steered"
    assert (await agent.read(task["id"]))["supportedSteerModes"] == ["steer", "queue"]
    waiting = await agent.task("not yet")
    assert (await _steer(agent, waiting, mode="steer"))["degradedFrom"] == "steer"
    other = await api.agent(harness_provider="codex")
    running = await other.started()
    refused = await other.call(
        "POST",
        f"/api/tasks/{running['id']}/steer",
        json={"message": "x", "mode": "steer", "onUnsupported": "fail"},
    )
    assert refused.status_code == 422
