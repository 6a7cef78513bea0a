"""A task from its submission to its end: everything about it can be read on the server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from rig import AGENT, Rig, harness, running_worker, swarm_rig

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

OTHER_AGENT = "0a9e0000-0000-4000-8000-000000000002"


async def test_everything_about_a_task_can_be_read_back(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("says_hi")):
        task_id = await rig.submit("Say hi")
        task = await rig.until_ended(task_id)
        await rig.settled(task_id)
        assert (task["status"], task["output"]) == ("completed", "hi there")
        assert task["claudeSessionId"] == "s-1"
        assert task["harnessVariantMeta"] == {"harness": "subprocess"}
        assert task["progress"] == "⚡ Do nothing"
        kinds = [line["type"] for line in await rig.lines(task_id)]
        assert kinds == ["system", "assistant", "user", "assistant", "result"]
        costs = await rig.costs(task_id)
        assert [(c["totalCostUsd"], c["inputTokens"], c["agentId"]) for c in costs] == [
            (0.25, 10, AGENT)
        ]
        events = {event["event"] for event in await rig.events(task_id)}
        assert {"session.start", "tool.start", "tool.end", "session.end"} <= events
        snapshots = (await rig.get(f"/api/tasks/{task_id}/context"))["snapshots"]
        assert {s["eventType"] for s in snapshots} == {"progress", "completion"}


async def test_progress_is_told_at_most_every_three_seconds(tmp_path: Path):
    env = harness("loops", 7, "news", "slowly")
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        task_id = await rig.submit()
        task = await rig.until_ended(task_id)
        await rig.settled(task_id)
        told = [log for log in task["logs"] if log["eventType"] == "task_progress"]
        assert len(told) == 1


async def test_every_line_arrives_once_and_in_order(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("counts", 1500)):
        task_id = await rig.submit()
        await rig.until_ended(task_id)
        await rig.settled(task_id)
        assert await said(rig, task_id) == [f"{task_id} {number}" for number in range(1500)]
        assert len(await rig.logs(task_id)) == 1502


async def test_parallel_tasks_keep_their_lines_apart(tmp_path: Path):
    place = tmp_path / "meeting"
    place.mkdir()
    env = harness("meets", place, 3, MAX_CONCURRENT_TASKS="3")
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        ids = [await rig.submit("task-text") for _ in range(3)]
        for task_id in ids:
            await assert_whole_and_its_own(rig, task_id, met=3)


async def test_two_workers_share_a_swarm_and_a_state_root(tmp_path: Path):
    place = tmp_path / "meeting"
    place.mkdir()
    env = harness("meets", place, 2)
    async with (
        swarm_rig(tmp_path) as rig,
        running_worker(rig, env),
        running_worker(rig, env | {"AGENT_ID": OTHER_AGENT, "AGENT_NAME": "the other"}),
    ):
        mine = await rig.submit("task-text")
        theirs = await rig.submit("task-text", agentId=OTHER_AGENT)
        for task_id, agent in ((mine, AGENT), (theirs, OTHER_AGENT)):
            await assert_whole_and_its_own(rig, task_id, met=2)
            assert (await rig.task(task_id))["agentId"] == agent
            assert {row["agentId"] for row in await rig.costs(task_id)} == {agent}


async def test_a_session_gets_its_own_surroundings_and_leaves_nothing(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("witness", tmp_path)):
        task_id = await rig.submit()
        await rig.until_ended(task_id)
        await rig.settled(task_id)
        given = json.loads((tmp_path / f"{task_id}.json").read_text())
        assert given["env"]["AGENT_SWARM_TASK_ID"] == task_id
        assert given["env"]["AGENT_ID"] == given["env"]["AGENT_SWARM_AGENT_ID"] == AGENT
        assert given["env"]["MCP_BASE_URL"] == rig.url
        assert sorted(given["modes"].values()) == ["0o600", "0o600", "0o700"]
        own = given["mcp"]["mcpServers"]["agent-swarm"]
        assert own["url"] == f"{rig.url}/mcp"
        assert own["headers"]["X-Source-Task-Id"] == task_id
        assert not any(map(os.path.exists, given["modes"]))
        assert list((tmp_path / "state" / AGENT / "sessions").iterdir()) == []


async def test_the_journal_begins_with_a_record_of_the_run(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("says_hi")):
        task_id = await rig.submit("Say hi")
        await rig.until_ended(task_id)
        await rig.settled(task_id)
        (journal,) = (tmp_path / "state").rglob("*.jsonl")
        assert task_id[:8] in journal.name
        first, *rest = [json.loads(line) for line in journal.read_text().splitlines()]
        assert (first["type"], first["taskId"]) == ("worker_metadata", task_id)
        assert "Say hi" in first["prompt"]
        assert rest == await rig.lines(task_id)
        assert journal.stat().st_mode & 0o077 == 0
        assert not rig.logged(Event.LISTENER_FAILED)


async def assert_whole_and_its_own(rig: Rig, task_id: str, *, met: int) -> None:
    """Check a task run by ``meets.py``: at the same time as others, and nothing got mixed up."""
    task = await rig.until_ended(task_id)
    await rig.settled(task_id)
    assert task["output"] == f"{task_id} met {met}, asked True"
    assert task["claudeSessionId"] == f"session-of-{task_id}"
    assert await said(rig, task_id) == [f"{task_id} {number}" for number in range(100)]
    assert len({row["sessionId"] for row in await rig.logs(task_id)}) == 1
    assert len(await rig.costs(task_id)) == 1


async def said(rig: Rig, task_id: str) -> list[Any]:
    """Return the agent's own words, in the order of the log."""
    return [
        line["message"]["content"][0]["text"]
        for line in await rig.lines(task_id)
        if line["type"] == "assistant"
    ]
