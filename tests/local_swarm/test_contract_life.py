"""Tasks from creation to end (docs/api.md 4, 5 and 7)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import anyio
import pytest

if TYPE_CHECKING:
    from local_swarm_api import Api, Local

pytestmark = pytest.mark.anyio


# --- polling
async def test_a_poll_claims_and_the_next_one_goes_on(api: Api) -> None:
    agent = await api.agent(maxTasks=2)
    first, second = await agent.task("one"), await agent.task("two", priority=90)
    urgent, other = await agent.poll(), await agent.poll()
    assert [urgent["taskId"], other["taskId"]] == [second["id"], first["id"]]
    assert await agent.poll() is None
    assert (await agent.read(first["id"]))["status"] == "in_progress"
    assert await agent.status() == "busy"


async def test_the_trigger_shows_the_task_as_claimed_but_with_its_old_time(api: Api) -> None:
    agent = await api.agent()
    task = await agent.task("text", dir="/tmp", outputSchema={"type": "object"}, effort="high")
    trigger = await agent.poll()
    assert trigger["type"] == "task_assigned"
    assert trigger["task"] == {**task, "status": "in_progress", "attachments": []}


async def test_a_full_agent_gets_nothing_until_it_finishes(api: Api) -> None:
    agent = await api.agent(maxTasks=1)
    running = await agent.started("one")
    waiting = await agent.task("two")
    assert await agent.poll() is None
    await agent.finish(running)
    assert (await agent.poll())["taskId"] == waiting["id"]


async def test_an_agent_of_no_slots_never_gets_work(api: Api) -> None:
    agent = await api.agent(maxTasks=0)
    await agent.task()
    assert await agent.poll() is None


async def test_a_task_waits_for_what_it_depends_on(api: Api) -> None:
    agent = await api.agent(maxTasks=2)
    first = await agent.task("first")
    await agent.task("second", dependsOn=[first["id"]], priority=100)
    trigger = await agent.poll()
    assert trigger["taskId"] == first["id"]
    assert await agent.poll() is None
    await agent.finish(first)
    assert (await agent.poll())["task"]["task"] == "second"


async def test_what_depends_on_a_failure_fails_too_and_so_on(api: Api) -> None:
    agent = await api.agent()
    first = await agent.started("first")
    second = await agent.task("second", dependsOn=[first["id"]])
    third = await agent.task("third", dependsOn=[second["id"]])
    await agent.finish(first, status="failed", failureReason="no")
    states = [await agent.read(task["id"]) for task in (second, third)]
    assert [state["status"] for state in states] == ["failed", "failed"]
    assert "dependency" in states[0]["failureReason"]


async def test_of_many_polls_at_once_exactly_one_gets_the_task(api: Api) -> None:
    agent = await api.agent(maxTasks=10)
    task = await agent.task()
    found = []

    async def poll() -> None:
        if (trigger := await agent.poll()) is not None:
            found.append(trigger["taskId"])

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(poll)
    assert found == [task["id"]]


async def test_two_agents_each_get_their_own(api: Api) -> None:
    one, two = await api.agent(), await api.agent("my custom id " + uuid.uuid4().hex)
    for_two, for_one = await two.task("for two"), await one.task("for one")
    assert (await one.poll())["taskId"] == for_one["id"]
    assert (await two.poll())["taskId"] == for_two["id"]
    await two.finish(for_one, 403)
    assert (await one.read(for_one["id"]))["status"] == "in_progress"


async def test_an_offer_is_being_reviewed_once_it_was_polled(api: Api) -> None:
    agent = await api.agent(maxTasks=1)
    task = await agent.task("for you?", mine=False, offeredTo=agent.id)
    assert task["status"] == "offered"
    trigger = await agent.poll()
    assert trigger["type"] == "task_offered"
    assert (trigger["task"]["status"], trigger["task"]["agentId"]) == ("reviewing", None)
    assert "attachments" not in trigger["task"]
    assert await agent.poll() is None
    # It occupies the slot, and finishing it is accepted without any effect.
    await agent.task("other")
    assert await agent.poll() is None
    answer = await agent.finish(task)
    assert (answer["alreadyFinished"], answer["task"]["status"]) == (True, "reviewing")


# --- finishing
async def test_finish_once_and_again_with_the_same_words(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    words: dict[str, Any] = {"status": "completed", "output": "all good"}
    first = await agent.finish(task, **words)
    assert (first["success"], first["alreadyFinished"]) == (True, False)
    assert first["task"]["output"] == "all good"
    assert first["task"]["finishedAt"]
    assert await agent.status() == "idle"
    again = await agent.finish(task, **words)
    assert (again["alreadyFinished"], again["wasNoOp"]) == (True, True)
    # The status itself is not compared.
    odd = await agent.finish(task, status="failed")
    assert (odd["wasNoOp"], odd["task"]["status"]) == (True, "completed")


async def test_finish_with_other_words_is_a_conflict_unless_forced(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    done = (await agent.finish(task, status="completed", output="first"))["task"]
    conflict = await agent.finish(task, 409, status="completed", output="second")
    assert (conflict["success"], conflict["alreadyFinished"]) == (False, True)
    assert conflict["error"] == conflict["message"]
    assert conflict["task"]["output"] == "first"
    forced = await agent.finish(task, status="completed", output="second", force=True)
    assert forced["wasForcedOverwrite"] is True
    assert (forced["task"]["output"], forced["task"]["status"]) == ("second", "completed")
    assert forced["task"]["finishedAt"] == done["finishedAt"]


@pytest.mark.parametrize("prepare", ["pending", "paused"])
async def test_a_result_for_a_task_that_does_not_run_is_lost(api: Api, prepare: str) -> None:
    agent = await api.agent()
    task = await agent.task()
    if prepare == "paused":
        await agent.poll()
        await agent.post(f"/api/tasks/{task['id']}/pause")
    answer = await agent.finish(task, status="completed", output="lost")
    assert (answer["success"], answer["alreadyFinished"]) == (True, True)
    assert answer["task"]["status"] == prepare
    assert "output" not in await agent.read(task["id"])
    # What docs/api.md 7.1 advises: bring it back, then say it again.
    await agent.post(f"/api/tasks/{task['id']}/progress", {"progress": "on it"})
    assert (await agent.finish(task))["alreadyFinished"] is False


async def test_finish_without_words_says_something(api: Api) -> None:
    agent = await api.agent(maxTasks=2)
    good, bad = await agent.started("a"), await agent.started("b")
    assert (await agent.finish(good, status="completed"))["task"]["output"]
    assert (await agent.finish(bad, status="failed"))["task"]["failureReason"]


async def test_finish_does_not_check_the_output_schema(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started(outputSchema={"type": "object"})
    assert (await agent.finish(task, status="completed", output="no JSON"))["task"]["output"]


# --- reports while it runs
async def test_progress_forces_any_open_task_to_run(api: Api) -> None:
    agent = await api.agent()
    task = await agent.task()
    await agent.post(f"/api/tasks/{task['id']}/progress", {"progress": "reading"})
    shown = await agent.read(task["id"])
    assert (shown["status"], shown["progress"]) == ("in_progress", "reading")
    latest = next(log for log in shown["logs"] if log["eventType"] == "task_progress")
    assert latest["newValue"] == "reading"


async def test_progress_after_the_end_is_kept_but_changes_nothing(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    await agent.finish(task)
    await agent.post(f"/api/tasks/{task['id']}/progress", {"progress": "late"})
    shown = await agent.read(task["id"])
    assert (shown["status"], shown["progress"]) == ("completed", "late")


async def test_history_is_newest_first_and_can_be_cut(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    for text in ("a", "b", "c"):
        await agent.post(f"/api/tasks/{task['id']}/progress", {"progress": text})
    logs = (await agent.get(f"/api/tasks/{task['id']}?logsLimit=2"))["logs"]
    assert [log["newValue"] for log in logs] == ["c", "b"]


async def test_the_session_report_overwrites_the_model_and_replaces_the_variant(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started(model="a-model")
    path = f"/api/tasks/{task['id']}/session"
    first = {
        "claudeSessionId": "s1",
        "provider": "claude",
        "model": "concrete",
        "providerMeta": {"dropped": 1},
        "harnessVariant": "v",
        "harnessVariantMeta": {"a": 1},
    }
    shown = await agent.put(path, first)
    assert (shown["claudeSessionId"], shown["model"]) == ("s1", "concrete")
    assert shown["providerMeta"] == {}
    shown = await agent.put(path, {"claudeSessionId": "s1", "harnessVariantMeta": {"b": 2}})
    assert shown["harnessVariantMeta"] == {"b": 2}
    devin = {"claudeSessionId": "d", "provider": "devin", "providerMeta": {"sessionUrl": "u"}}
    assert (await agent.put(path, devin))["providerMeta"] == {"sessionUrl": "u"}


async def test_vcs_report(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    link = {
        "vcsProvider": "github",
        "vcsRepo": "a/b",
        "vcsNumber": 7,
        "vcsUrl": "https://github.com/a/b/pull/7",
    }
    answer = await agent.call("PATCH", f"/api/tasks/{task['id']}/vcs", json=link)
    assert {name: answer.json()[name] for name in link} == link


async def test_what_counts_as_a_sign_of_life(local: Local) -> None:
    agent = await local.agent()
    task = await agent.task()
    path = f"/api/tasks/{task['id']}"
    vcs = {"vcsProvider": "gitlab", "vcsRepo": "a/b", "vcsNumber": 1, "vcsUrl": "https://x/1"}
    session = {"agentId": agent.id, "taskId": task["id"], "triggerType": "x"}
    snapshot = {"eventType": "progress", "sessionId": "s"}
    logs = {"sessionId": "s", "iteration": 1, "lines": ["x"], "taskId": task["id"]}
    cost = {"sessionId": "s", "agentId": agent.id, "totalCostUsd": 1, "taskId": task["id"]}
    steps: list[tuple[str, str, dict[str, Any], bool]] = [
        ("GET", "/api/poll", {}, True),
        ("POST", f"{path}/progress", {"progress": "x"}, True),
        ("PUT", f"{path}/session", {"claudeSessionId": "s"}, True),
        ("PATCH", f"{path}/vcs", vcs, True),
        ("POST", "/api/active-sessions", session, False),
        ("PUT", f"/api/active-sessions/heartbeat/{task['id']}", {}, False),
        ("PUT", f"/api/agents/{agent.id}/activity", {}, False),
        ("POST", f"{path}/context", snapshot, False),
        ("POST", "/api/session-logs", logs, False),
        ("POST", "/api/session-costs", cost, False),
        ("POST", f"{path}/pause", {}, True),
        ("POST", f"{path}/resume", {}, True),
        ("POST", f"{path}/finish", {"status": "completed"}, True),
    ]
    before = task["lastUpdatedAt"]
    for method, where, body, counts in steps:
        local.clock.move(1)
        assert (await agent.call(method, where, json=body)).status_code < 300
        after = (await agent.read(task["id"]))["lastUpdatedAt"]
        assert (after > before) == counts, where
        before = after


# --- stopping it
async def test_only_cancelled_tasks_are_reported_as_cancelled(api: Api) -> None:
    agent = await api.agent(maxTasks=2)
    task, other = await agent.started("a"), await agent.started("b")
    path = f"/cancelled-tasks?taskId={task['id']}"
    assert await agent.get(path) == {"cancelled": []}
    await agent.post(f"/api/tasks/{task['id']}/cancel", {"reason": "changed my mind"})
    entry = {"id": task["id"], "task": "a", "failureReason": "changed my mind"}
    assert await agent.get(path) == {"cancelled": [entry]}
    recent = (await agent.get("/cancelled-tasks"))["cancelled"]
    assert [row["id"] for row in recent] == [task["id"]]
    assert recent[0]["status"] == "cancelled"
    await agent.post(f"/api/tasks/{other['id']}/supersede", {"reason": "manual_supersede"})
    assert await agent.get(f"/cancelled-tasks?taskId={other['id']}") == {"cancelled": []}


async def test_a_late_finish_after_a_cancel_is_409_and_cancelling_twice_400(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    await agent.post(f"/api/tasks/{task['id']}/cancel")
    answer = await agent.finish(task, 409, status="failed", failureReason="aborted")
    assert answer["task"]["status"] == "cancelled"
    refused = await agent.post(f"/api/tasks/{task['id']}/cancel", status=400)
    assert "cancelled" in refused["error"]
    assert await agent.status() == "idle"


async def test_pause_and_resume(api: Api) -> None:
    agent, stranger = await api.agent(), await api.agent()
    task = await agent.started()
    path = f"/api/tasks/{task['id']}"
    await stranger.post(f"{path}/pause", status=403)
    paused = (await agent.post(f"{path}/pause"))["task"]
    assert (paused["status"], paused["wasPaused"]) == ("paused", True)
    assert paused["agentId"] == agent.id
    assert [row["id"] for row in (await agent.get("/api/paused-tasks"))["tasks"]] == [task["id"]]
    await agent.post(f"{path}/pause", status=400)
    assert (await agent.post(f"{path}/resume"))["task"]["status"] == "in_progress"
    await agent.post(f"{path}/resume", status=400)


# --- creating and listing
async def test_what_a_child_inherits(api: Api) -> None:
    agent = await api.agent()
    fields: dict[str, Any] = {
        "dir": "/srv/tree",
        "contextKey": "ctx",
        "outputSchema": {"type": "string"},
    }
    parent = await agent.task("parent", model="only-mine", effort="low", **fields)
    child = await agent.task("child", parentTaskId=parent["id"])
    assert {name: child[name] for name in fields} == fields
    assert child["key"] == parent["key"]
    assert not {"model", "effort"} & set(child)


async def test_old_model_names_mean_a_tier(api: Api) -> None:
    agent = await api.agent()
    task = await agent.task(model="opus")
    assert task["modelTier"] == "smart"
    assert "model" not in task
    assert (await agent.task(model="claude-opus-4-8"))["model"] == "claude-opus-4-8"


async def test_lists_are_filtered_and_short(api: Api) -> None:
    agent = await api.agent(maxTasks=5)
    long_text = "x" * 5000
    waiting, running = await agent.task(long_text), await agent.task("run", priority=99)
    await agent.poll()
    listed = await agent.get(f"/api/tasks?agentId={agent.id}&status=pending,in_progress")
    assert listed["total"] == 2
    by_id = {task["id"]: task for task in listed["tasks"]}
    assert set(by_id) == {waiting["id"], running["id"]}
    assert len(by_id[waiting["id"]]["task"]) < 1000
    full = await agent.get(f"/api/tasks?agentId={agent.id}&status=pending&fields=full&limit=1")
    assert [task["task"] for task in full["tasks"]] == [long_text]


async def test_attachments_travel_with_the_trigger(api: Api) -> None:
    agent = await api.agent()
    task = await agent.task()
    path = f"/api/fs/tasks/{task['id']}/files"
    name = "a file.bin"
    answer = await agent.call(
        "POST",
        path,
        params={"name": name, "intent": "input"},
        content=b"\x00\xffbytes",
        headers={"Content-Type": "application/x-thing"},
    )
    assert answer.status_code == 201
    stored = answer.json()
    assert (stored["name"], stored["sizeBytes"]) == (name, 7)
    trigger = await agent.poll()
    expected = {"id": stored["id"], "name": name, "mimeType": "application/x-thing"}
    assert trigger["task"]["attachments"] == [{**expected, "sizeBytes": 7}]
    raw = await agent.call("GET", f"{path}/{stored['id']}/raw")
    assert raw.content == b"\x00\xffbytes"
    for sneaky in (f"{path}/..%2f..%2fetc%2fpasswd/raw", f"{path}/{uuid.uuid4()}/raw"):
        assert (await agent.call("GET", sneaky)).status_code in {400, 404}
    assert (await agent.call("DELETE", f"{path}/{stored['id']}")).status_code == 204
    assert await agent.get(path) == {"attachments": []}


async def test_no_file_name_leads_anywhere_or_adds_a_header(local: Local) -> None:
    agent = await local.agent()
    path = f"/api/fs/tasks/{(await agent.task())['id']}/files"
    for name in ("../../etc/passwd", "/etc/passwd", "a\r\nX-Evil: 1", 'a"; x="', "\0", "ü🐝"):
        answer = await agent.call("POST", path, params={"name": name}, content=b"x")
        assert answer.json()["name"] == name
        raw = await agent.call("GET", f"{path}/{answer.json()['id']}/raw")
        assert (raw.content, "x-evil" in raw.headers) == (b"x", False)
