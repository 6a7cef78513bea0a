"""A worker with real agents that speak ACP, from the task to the server's rows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from real_acp import AGENTS, AcpAgent
from real_claude import TOOLS
from worker_rig import WorkerRig, worker_rig

from agent_swarm_worker.processes import procfs

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

START_SECONDS = 120
"""Some of them take many seconds to start, and one asks again for a minute after an error."""
PINNED = ("opencode", "qwen", "grok")
"""Those that `install-clis.sh` installs; the others are tried where somebody installed them."""


@pytest.fixture(params=AGENTS.values(), ids=AGENTS)
def agent(request: pytest.FixtureRequest) -> AcpAgent:
    found: AcpAgent = request.param
    if found.name not in PINNED and not (TOOLS / "bin" / found.name).exists():
        pytest.skip(f"{found.name} is not installed")
    return found


@pytest.fixture
async def on(tmp_path: Path, anyio_backend: str, agent: AcpAgent) -> AsyncIterator[WorkerRig]:
    def env(home: Path, model_url: str) -> dict[str, str]:
        return agent.env(home, model_url, ACP_SILENCE_TIMEOUT_SECONDS="25")

    async with worker_rig(tmp_path, env, agent.model) as ready:
        ready.within_s = START_SECONDS
        yield ready


async def test_an_answer_and_a_tool(on: WorkerRig):
    task = await on.run("Look. [[bash:echo seen > seen.txt]][[say:Hello from the model]]")
    assert (task["status"], task["output"]) == ("completed", "Hello from the model")
    assert (on.work / "seen.txt").read_text() == "seen\n"
    labels = [str(entry.get("newValue")) for entry in task["logs"]]
    assert any(label.startswith("⚡") for label in labels)
    events = [event["event"] for event in await on.rig.events(task["id"])]
    assert events.count("tool.start") == events.count("tool.end") == 1
    assert task["claudeSessionId"]
    assert any("swarm" in request.system + request.prompt for request in on.model.requests)


async def test_the_agent_reaches_the_swarm_as_itself_and_for_its_task(
    on: WorkerRig, agent: AcpAgent
):
    call = agent.call("store-progress", progress="half way there")
    task = await on.run(f"Report. {call}[[say:Reported]]")
    # Without the three headers the call would be refused, or land on no task.
    assert "half way there" in [entry.get("newValue") for entry in task["logs"]]
    assert (task["status"], task["output"]) == ("completed", "Reported")


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (401, "Incorrect API key provided", "authentication"),
        (429, "Rate limit exceeded", "rate limit"),
    ],
)
async def test_api_errors_fail_the_task_with_their_class(
    on: WorkerRig, status: int, message: str, words: str
):
    task = await on.run(f"Fail. [[fail:{status} {message}]]")
    assert task["status"] == "failed"
    reason = task["failureReason"].lower()
    # Some ask again for longer than anybody waits, and say nothing meanwhile.
    assert words in reason or "said nothing for 25 s" in reason


async def test_cancel_in_the_middle_of_a_tool_leaves_no_process(on: WorkerRig):
    command = "setsid sleep 6432 & sleep 6432; echo never"
    task_id = await on.rig.submit(f"Wait. [[bash:{command}]]", dir=str(on.work))

    async def sleepers() -> list[int]:
        return [p.pid for p in procfs.snapshot().values() if "sleep 6432" in command_of(p.pid)]

    await on.rig.until(sleepers, within_s=START_SECONDS)
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


async def test_a_follow_up_continues_the_session(on: WorkerRig):
    first = await on.run("Remember the word heron. [[say:I will]]")
    second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
    assert (second["status"], second["output"]) == ("completed", "heron")
    assert second["claudeSessionId"] == first["claudeSessionId"]
    assert "Remember the word heron" in json.dumps([one.body for one in on.model.requests[-2:]])


async def test_without_its_files_the_preamble_tells_the_story(on: WorkerRig):
    first = await on.run("Remember the word heron. [[say:I will]]")
    for path in sorted(on.home.rglob("*"), reverse=True):
        is_own = not {".npm", ".cache", ".factory"} & set(path.parts)
        if path.is_file() and (is_own or first["claudeSessionId"] in path.name):
            path.unlink()
    second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
    assert (second["status"], second["output"]) == ("completed", "heron")
    assert second["claudeSessionId"] != first["claudeSessionId"]
    assert any("Remember the word heron" in prompt for prompt in on.prompts())
