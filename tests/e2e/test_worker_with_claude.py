"""A worker with the real claude CLI, from the task to the server's rows."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
from real_claude import hermetic_env
from worker_rig import MANY_SECONDS, WorkerRig, worker_rig

from agent_swarm_worker.processes import procfs

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


async def test_tool_turn_is_shown_as_it_happens(tmp_path: Path):
    async with harness(tmp_path) as on:
        task = await on.run("Look. [[bash:echo seen > seen.txt]][[say:Done looking]]")
        assert task["output"] == "Done looking"
        assert (on.work / "seen.txt").read_text() == "seen\n"
        assert task["progress"] == "⚡ scripted"
        events = [event["event"] for event in await on.rig.events(task["id"])]
        assert events.count("tool.start") == events.count("tool.end") == 1


async def test_the_agent_reaches_the_swarm_as_itself_and_for_its_task(tmp_path: Path):
    said = json.dumps({"progress": "half way there"})
    async with harness(tmp_path) as on:
        task = await on.run(f"Report. [[tool:{STORE} {said}]][[say:Reported]]")
        history = [entry.get("newValue") for entry in task["logs"]]
        # Without the three headers the call would be refused, or land on no task.
        assert "half way there" in history
        assert task["status"] == "completed"


async def test_the_agent_ends_its_task_through_the_swarm(tmp_path: Path):
    said = json.dumps({"status": "completed", "output": "stored by the agent"})
    async with harness(tmp_path) as on:
        task = await on.run(f"Report. [[tool:{STORE} {said}]][[say:Something else]]")
        assert (task["status"], task["output"]) == ("completed", "stored by the agent")


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "authentication"), (429, "rate"), (500, "server")],
)
async def test_api_errors_fail_the_task_with_their_class(tmp_path: Path, status: int, words: str):
    async with harness(tmp_path, CLAUDE_CODE_MAX_RETRIES="0") as on:
        task = await on.run(f"Fail. [[fail:{status}]]")
        assert task["status"] == "failed"
        assert words in task["failureReason"].lower()


async def test_cancel_in_the_middle_of_a_tool_leaves_no_process(tmp_path: Path):
    async with harness(tmp_path) as on:
        command = "setsid sleep 4321 & sleep 4321; echo never"
        task_id = await on.rig.submit(f"Wait. [[bash:{command}]]", dir=str(on.work))

        async def sleepers() -> list[int]:
            return [p.pid for p in procfs.snapshot().values() if "4321" in command_of(p.pid)]

        await on.rig.until(sleepers, within_s=MANY_SECONDS)
        await on.rig.post(f"/api/tasks/{task_id}/cancel")

        async def gone() -> bool:
            return not await sleepers()

        await on.rig.until(gone, within_s=14)
        await on.rig.settled(task_id)
        assert (await on.rig.task(task_id))["status"] == "cancelled"


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


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


async def test_without_a_transcript_the_preamble_tells_the_story(tmp_path: Path):
    async with harness(tmp_path) as on:
        first = await on.run("Remember the word heron. [[say:I will]]")
        session = first["claudeSessionId"]
        for transcript in (on.home / ".claude" / "projects").glob(f"*/{session}.jsonl"):
            transcript.unlink()
        second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
        assert second["claudeSessionId"] != session
        assert "Remember the word heron" in on.prompts()[-1]


async def test_a_prompt_of_a_mebibyte(tmp_path: Path):
    async with harness(tmp_path) as on:
        text = "x" * (1 << 20)
        task = await on.run(f"{text} [[say:That was long]]")
        assert task["output"] == "That was long"
        assert on.model.requests[0].size > 1 << 20


@pytest.mark.parametrize("text", ["--help me", "-x", "/compact this", "/help", "@nosuchfile"])
async def test_prompts_that_look_like_something_else(tmp_path: Path, text: str):
    async with harness(tmp_path) as on:
        task = await on.run(f"{text} [[say:Understood]]")
        assert (task["status"], task["output"]) == ("completed", "Understood")
        assert text in on.prompts()[0]
