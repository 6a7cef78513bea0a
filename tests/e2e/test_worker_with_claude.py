"""A worker with the real claude CLI, from the task to the server's rows."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
from real_claude import hermetic_env
from worker_rig import WorkerRig, worker_rig

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

STORE = "mcp__agent-swarm__store-progress"


def harness(tmp_path: Path, **env: str) -> AbstractAsyncContextManager[WorkerRig]:
    return worker_rig(tmp_path, partial(hermetic_env, HARNESS_PROVIDER="claude", **env))


async def test_plain_answer(tmp_path: Path):
    async with harness(tmp_path) as on:
        task = await on.run("Greet me. [[say:Hello from the model]]")
        assert (task["status"], task["output"]) == ("completed", "Hello from the model")
        assert task["claudeSessionId"]
        kinds = [line["type"] for line in await on.rig.lines(task["id"])]
        assert kinds[0] == "system"
        assert kinds[-1] == "result"
        costs = await on.rig.costs(task["id"])
        assert [cost["isError"] for cost in costs] == [False]
        assert costs[0]["inputTokens"] > 0
        snapshots = (await on.rig.get(f"/api/tasks/{task['id']}/context"))["snapshots"]
        assert snapshots
        assert not list(tmp_path.glob("state/**/mcp*.json")), "private files are gone"


async def test_the_agent_ends_its_task_through_the_swarm(tmp_path: Path):
    said = json.dumps({"status": "completed", "output": "stored by the agent"})
    async with harness(tmp_path) as on:
        task = await on.run(f"Report. [[tool:{STORE} {said}]][[say:Something else]]")
        assert (task["status"], task["output"]) == ("completed", "stored by the agent")


async def test_a_follow_up_continues_the_session_and_is_not_billed_twice(tmp_path: Path):
    async with harness(tmp_path) as on:
        first = await on.run("Remember the word heron. [[say:I will]]")
        second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
        assert second["claudeSessionId"] == first["claudeSessionId"]
        body = json.dumps(on.model.requests[-1].body)
        assert "Remember the word heron" in body
        assert "Prior" not in on.prompts()[-1], "the session knows the story; no preamble"
        (one,), (two,) = await on.rig.costs(first["id"]), await on.rig.costs(second["id"])
        assert two["inputTokens"] < one["inputTokens"] * 1.9


async def test_a_follow_up_can_continue_a_copy_of_the_session(tmp_path: Path):
    async with harness(tmp_path, RESUME_MODE="fork") as on:
        first = await on.run("Remember the word heron. [[say:I will]]")
        second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
        third = await on.run("Again? [[say:heron]]", parentTaskId=first["id"])
        ids = {task["claudeSessionId"] for task in (first, second, third)}
        assert (second["output"], third["output"], len(ids)) == ("heron", "heron", 3)
        body = json.dumps(on.model.requests[-1].body)
        assert "Remember the word heron" in body
        assert "Which word?" not in body, "the first session stayed as it was"
        costs = [cost for task in (second, third) for cost in await on.rig.costs(task["id"])]
        assert len({cost["inputTokens"] for cost in costs}) == 1


async def test_a_session_that_is_gone_starts_afresh_with_the_story(tmp_path: Path):
    async with harness(tmp_path) as on:
        first = await on.run("Remember the word heron. [[say:I will]]")
        session = first["claudeSessionId"]
        (transcript,) = (on.home / ".claude" / "projects").glob(f"*/{session}.jsonl")
        transcript.write_text("{}\n")
        second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
        assert second["status"] == "completed"
        assert second["claudeSessionId"] != session
        assert "Remember the word heron" in on.prompts()[-1], "the preamble tells it"
