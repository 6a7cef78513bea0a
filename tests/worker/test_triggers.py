"""Each kind of trigger: the prompt of its session, and the reports to the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from patience import until
from recording_proxy import RecordingProxy, proxy_rig
from rig import AGENT, Rig, harness, running_worker, swarm_rig

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

OTHER = "0a9e0000-0000-4000-8000-000000000002"
ACTIVITY = {
    "type": "channel_activity",
    "count": 1,
    "messages": [
        {"channelId": "C1", "channelName": "dev", "ts": "1.5", "user": "ada", "text": "It *broke*"}
    ],
    "cursorUpdates": [{"channelId": "C1", "ts": "1.5"}],
}


def give(proxy: RecordingProxy, trigger: dict[str, Any]) -> None:
    """Let the next poll bring this."""
    proxy.refuse("GET /api/poll", 200, json.dumps({"trigger": trigger}), times=1)


async def session_ended(rig: Rig) -> None:
    """Wait until a session has ended and everything about it is told."""

    async def gone() -> bool:
        rows = (await rig.get("/api/active-sessions", agentId=AGENT))["sessions"]
        return bool(rig.logged(Event.SESSION_ENDED)) and not rows

    await rig.until(gone)


def only_witnessed(place: Path) -> dict[str, Any]:
    (told,) = place.glob("*.json")
    return dict(json.loads(told.read_text()))


async def test_an_offer_is_neither_worked_on_nor_finished_for_the_agent(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("says_hi")):
        task = await rig.post("/api/tasks", {"task": "Would you?", "offeredTo": AGENT})
        await session_ended(rig)
        assert (await rig.task(task["id"]))["status"] == "reviewing"
        assert not proxy.seen(r"(progress|finish|supersede)")
        assert len(await rig.lines(task["id"])) == 5
        assert len(await rig.costs(task["id"])) == 1


@pytest.mark.parametrize("decision", ["", "accept", "reject"])
async def test_an_offer_that_the_agent_does_not_decide_on_is_said(tmp_path: Path, decision: str):
    go_on = tmp_path / "go-on"
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("waits", go_on)):
        task = await rig.post("/api/tasks", {"task": "Would you?", "offeredTo": AGENT})
        await rig.until(lambda: _began(rig))
        if decision:
            arguments = {"action": decision, "taskId": task["id"]}
            call = {"name": "task-action", "arguments": arguments}
            answer = await rig.api.post(
                "/mcp",
                json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
                headers={"X-Agent-ID": AGENT, "Accept": "application/json, text/event-stream"},
            )
            assert answer.status_code == 200, answer.text
            assert (await rig.task(task["id"]))["status"] != "reviewing"
        go_on.touch()
        await session_ended(rig)
    said = [line["task"] for line in rig.logged(Event.OFFER_UNDECIDED)]
    assert said == ([] if decision else [task["id"]])


@pytest.mark.long
async def test_an_offer_that_is_assigned_to_the_lead_is_reviewed(tmp_path: Path):
    """The server assigns a new task without an agent to the lead, also if it offers it."""
    async with proxy_rig(tmp_path) as (rig, proxy):
        lead = {"name": "lead", "isLead": True}
        await rig.post("/api/agents", lead, **{"X-Agent-ID": OTHER})
        go_on = tmp_path / "go-on"
        async with running_worker(rig, harness("waits", go_on)):
            task = await rig.post("/api/tasks", {"task": "Would you?", "offeredTo": AGENT})
            assert task["agentId"] == OTHER
            await rig.until(lambda: _began(rig))
            # Also when the server has lost the session's row, and at the periodic check.
            proxy.say("heartbeat/", {"updated": False})
            checks = len(proxy.seen(f"GET /api/tasks/{task['id']}"))
            await until(lambda: len(proxy.seen(f"GET /api/tasks/{task['id']}")) > checks + 3)
            go_on.touch()
            await session_ended(rig)
        (ended,) = rig.logged(Event.SESSION_ENDED)
        assert not ended["is_error"]
        assert not rig.logged(Event.TASK_LOST)
        assert (await rig.task(task["id"]))["status"] == "reviewing"
        assert not proxy.seen(r"(progress|finish|supersede)")
        assert len(await rig.costs(task["id"])) == 1


async def _began(rig: Rig) -> bool:
    return len(rig.logged(Event.SESSION_OUTPUT)) >= 2


async def test_an_offer_is_put_before_the_agent(tmp_path: Path):
    env = harness("witness", tmp_path)
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        task = await rig.post("/api/tasks", {"task": "Would you?", "offeredTo": AGENT})
        await session_ended(rig)
    given = only_witnessed(tmp_path)
    assert given["env"]["AGENT_SWARM_TASK_ID"] == task["id"]
    assert "This task is offered to you" in given["prompt"]
    assert "Would you?" in given["prompt"]


async def test_mentions_make_a_session_without_a_task(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await rig.post("/api/agents", {"name": "tested"}, **{"X-Agent-ID": AGENT})
        await rig.post("/api/agents", {"name": "other"}, **{"X-Agent-ID": OTHER})
        said = {"content": "wake up", "mentions": [AGENT]}
        call = {"name": "post-message", "arguments": said}
        answer = await rig.api.post(
            "/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
            headers={"X-Agent-ID": OTHER, "Accept": "application/json, text/event-stream"},
        )
        assert answer.status_code == 200, answer.text
        proxy.visits.clear()
        async with running_worker(rig, harness("witness", tmp_path)):
            await session_ended(rig)
        assert "mention" in only_witnessed(tmp_path)["prompt"]
        assert not proxy.seen(r"/api/tasks/")
        (row,) = [v.json() for v in proxy.seen("POST /api/session-costs")]
        assert "taskId" not in row
        logs = proxy.seen("POST /api/session-logs")
        assert logs
        assert all("taskId" not in v.json() for v in logs)
        assert len(proxy.seen("PUT /api/active-sessions/provider-session")) == 1


@pytest.mark.parametrize("fails", [False, True])
async def test_channel_cursors_are_committed_when_the_session_went_well(
    tmp_path: Path, fails: bool
):
    async with proxy_rig(tmp_path) as (rig, proxy):
        give(proxy, ACTIVITY)
        env = rig.prints(b"oh no\n", code=1) if fails else harness("witness", tmp_path)
        async with running_worker(rig, env, role="lead"):
            await session_ended(rig)
        if fails:
            assert not proxy.seen("commit-cursors")
            return
        (commit,) = proxy.seen("commit-cursors")
        assert commit.json() == {"cursorUpdates": ACTIVITY["cursorUpdates"]}
        assert "**#dev** (user: ada): It *broke*" in only_witnessed(tmp_path)["prompt"]


@pytest.mark.long
@pytest.mark.parametrize(
    "trigger",
    [
        {"type": "tea_time", "taskId": "t"},
        {"type": "task_assigned"},
        {"type": "task_assigned", "taskId": "../../etc", "task": {"id": "t", "task": "x"}},
        {},
        [],
        "task_assigned",
        7,
    ],
    ids=str,
)
async def test_what_is_not_understood_is_logged_and_passed_over(tmp_path: Path, trigger: Any):
    async with proxy_rig(tmp_path) as (rig, proxy):
        give(proxy, trigger)
        async with running_worker(rig, harness("says_hi")):
            row = await rig.until_ended(await rig.submit())
            assert row["status"] == "completed"
        assert len(rig.logged(Event.TRIGGER_IGNORED)) == 1
        assert len(rig.logged(Event.TASK_STARTED)) == 1


async def test_a_task_that_is_only_named_is_fetched(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        task = await rig.post("/api/tasks", {"task": "Said elsewhere", "agentId": AGENT})
        give(proxy, {"type": "task_assigned", "taskId": task["id"]})
        async with running_worker(rig, harness("witness", tmp_path)):
            await session_ended(rig)
        assert 'Task: "Said elsewhere"' in only_witnessed(tmp_path)["prompt"]


async def test_an_older_server_may_add_to_the_system_prompt(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        task = await rig.post("/api/tasks", {"task": "Sing", "agentId": AGENT})
        more = {"id": task["id"], "task": "Sing", "additionalSystemPrompt": "Sing in rhymes."}
        give(proxy, {"type": "task_assigned", "taskId": task["id"], "task": more})
        async with running_worker(rig, harness("witness", tmp_path)):
            await session_ended(rig)
        given = only_witnessed(tmp_path)
    assert "Sing in rhymes." in given["system"]
    assert "Sing in rhymes." not in given["prompt"]


@pytest.mark.long
async def test_a_task_without_words_and_unknown_to_the_server(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        give(proxy, {"type": "task_assigned", "taskId": "no such task", "task": {"task": ""}})
        async with running_worker(rig, harness("witness", tmp_path)):
            await session_ended(rig)
            row = await rig.until_ended(await rig.submit())
            assert row["status"] == "completed"
        given = json.loads((tmp_path / "no such task.json").read_text())
        assert given["prompt"].strip()
        assert not proxy.seen("finish")[:-1]
