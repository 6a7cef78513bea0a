"""A worker with the real codex CLI, from the task to the server's rows."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import anyio
import pytest
from real_codex import TRANSPORTS, codex_env
from rig import swarm_rig
from scripted_model import ScriptedModel
from worker_process import worker_process
from worker_rig import MANY_SECONDS, WorkerRig, worker_rig

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

STORE = "mcp__agent-swarm__store-progress"


def harness(tmp_path: Path, **env: str) -> AbstractAsyncContextManager[WorkerRig]:
    return worker_rig(tmp_path, partial(codex_env, HARNESS_PROVIDER="codex", **env))


@pytest.fixture(params=TRANSPORTS)
async def on(
    tmp_path: Path, anyio_backend: str, request: pytest.FixtureRequest
) -> AsyncIterator[WorkerRig]:
    async with harness(tmp_path, CODEX_TRANSPORT=request.param) as ready:
        yield ready


async def test_plain_answer(on: WorkerRig, tmp_path: Path):
    task = await on.run("Greet me. [[say:Hello from the model]]")
    assert (task["status"], task["output"]) == ("completed", "Hello from the model")
    assert task["claudeSessionId"]
    assert len(await on.rig.lines(task["id"])) >= 4
    (cost,) = await on.rig.costs(task["id"])
    assert (cost["isError"], cost["inputTokens"], cost["model"]) == (False, 4000, "gpt-5.6-terra")
    assert (await on.rig.get(f"/api/tasks/{task['id']}/context"))["snapshots"]
    assert not list(tmp_path.glob("state/**/auth.json")), "private files are gone"
    assert "swarm" in on.model.requests[0].system, "the system prompt has arrived"


async def test_the_agent_ends_its_task_through_the_swarm(on: WorkerRig):
    said = json.dumps({"status": "completed", "output": "stored by the agent"})
    task = await on.run(f"Report. [[tool:{STORE} {said}]][[say:Something else]]")
    assert (task["status"], task["output"]) == ("completed", "stored by the agent")


async def test_a_follow_up_continues_the_session_and_is_not_billed_twice(on: WorkerRig):
    first = await on.run("Remember the word heron. [[say:I will]]")
    second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
    assert second["claudeSessionId"] == first["claudeSessionId"]
    assert "Remember the word heron" in json.dumps(on.model.requests[-1].body)
    assert "Prior" not in on.prompts()[-1], "the session knows the story; no preamble"
    (one,), (two,) = await on.rig.costs(first["id"]), await on.rig.costs(second["id"])
    assert one["inputTokens"] == two["inputTokens"] == 4000


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


async def test_a_resumed_session_whose_worker_is_killed_is_billed_for_what_is_new(tmp_path: Path):
    (home := tmp_path / "home").mkdir()
    (work := tmp_path / "work").mkdir()
    async with ScriptedModel() as model, swarm_rig(tmp_path) as rig:
        # Only this transport tells what a turn has cost before it is over.
        codex = codex_env(home, model.url, CODEX_TRANSPORT="app-server")
        env = {**rig.env, **codex, "HARNESS_PROVIDER": "codex", "LOG_DIR": str(tmp_path / "logs")}
        async with worker_process(tmp_path, env) as worker:
            first = await rig.submit("Remember the word heron. [[say:I will]]", dir=str(work))
            await rig.until_ended(first, within_s=MANY_SECONDS)
            await rig.settled(first)
            second = await rig.submit(
                "Wait. [[bash:true]] [[bash:sleep 3211]]", dir=str(work), parentTaskId=first
            )
            with anyio.fail_after(MANY_SECONDS):
                while not is_said(tmp_path / "logs", b'"inputTokens":8000'):
                    await anyio.sleep(0.05)
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        async with worker_process(tmp_path, env):
            (cost,) = await rig.until(lambda: rig.costs(second), within_s=MANY_SECONDS)
        (before,) = await rig.costs(first)
    assert cost["inputTokens"] == before["inputTokens"] == 4000


def is_said(logs: Path, words: bytes) -> bool:
    return any(words in path.read_bytes() for path in logs.glob("**/*.jsonl"))


async def test_a_damaged_record_starts_afresh_with_the_story(on: WorkerRig):
    first = await on.run("Remember the word heron. [[say:I will]]")
    session = first["claudeSessionId"]
    (record,) = (on.home / ".codex/sessions").glob(f"*/*/*/*{session}.jsonl")
    record.write_text("{}\n")
    second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
    assert (second["status"], second["output"]) == ("completed", "heron")
    assert second["claudeSessionId"] != session
    assert "Remember the word heron" in on.prompts()[-1]


async def test_a_long_prompt_and_one_that_is_too_long(on: WorkerRig):
    task = await on.run(f"{'x' * 300_000} [[say:That was long]]")
    assert task["output"] == "That was long"
    assert on.model.requests[0].size > 300_000
    task = await on.run("x" * ((1 << 20) + 1))
    assert task["status"] == "failed"
    assert "too long" in task["failureReason"]


async def test_a_skill_takes_the_place_of_its_command(tmp_path: Path):
    skill = tmp_path / "skills/work-on-task"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("Do whatever it says.")
    async with harness(tmp_path, CODEX_SKILLS_DIR=str(skill.parent)) as on:
        task = await on.run("Greet Ada [[say:Hello Ada]]")
        said = on.prompts()[0]
        assert said.startswith(f"Do whatever it says.\n\n---\n\nUser request: {task['id']}")
        assert "Greet Ada" in said


async def test_an_unknown_model_fails_the_task(on: WorkerRig):
    task = await on.run("Hi. [[fail:404 The model `gpt-9` does not exist]]", model="gpt-9")
    assert task["status"] == "failed"
    assert "Unknown model" in task["failureReason"]
