"""A worker with a real agent, from the task to the server's rows: every scenario with each.

The table of docs/harnesses.md shows the results.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from clis import Cli
from rig import NOWHERE, Rig, swarm_rig
from worker_process import worker_process
from worker_rig import WorkerRig

from agent_swarm_worker.processes import procfs

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.timeout(600)]

scenario = pytest.mark.scenario
SHORT = {"ACP_SILENCE_TIMEOUT_SECONDS": "15", "CODEX_NETWORK_TIMEOUT_SECONDS": "15"}
SILENT = "said nothing for 15 s"
"""Some ask a model that fails again for longer than anybody waits, and say nothing meanwhile."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def worker(
    cli: Cli, anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WorkerRig]:
    """One worker for all tests of a command line: its start is most of a test."""
    async with cli.worker(tmp_path_factory.mktemp(cli.name), **SHORT) as ready:
        yield ready


@pytest.fixture
async def on(worker: WorkerRig, request: pytest.FixtureRequest) -> AsyncIterator[WorkerRig]:
    ready = worker.for_another_test(request.function.__name__)
    yield ready
    await ready.end_tasks()


@scenario("answer")
async def test_an_answer(on: WorkerRig):
    task = await on.run("Greet me. [[say:Hello from the model]]")
    assert (task["status"], task["output"]) == ("completed", "Hello from the model")
    assert task["claudeSessionId"]
    assert await on.rig.lines(task["id"])
    assert all(not cost["isError"] for cost in await on.rig.costs(task["id"]))
    assert not list(on.rig.place.glob("state/*/sessions/*")), "private files are gone"
    if on.requests:
        assert any("swarm" in one.system + one.prompt for one in on.requests)


@scenario("tool")
async def test_a_tool(on: WorkerRig):
    task = await on.run("Look. [[bash:echo seen > seen.txt]][[say:Done looking]]")
    assert (task["status"], task["output"]) == ("completed", "Done looking")
    assert (on.work / "seen.txt").read_text() == "seen\n"
    assert any(str(entry.get("newValue")).startswith("⚡") for entry in task["logs"])
    events = [event["event"] for event in await on.rig.events(task["id"])]
    assert events.count("tool.start") == events.count("tool.end") == 1


@scenario("mcp")
async def test_the_agent_reaches_the_swarm_as_itself_and_for_its_task(on: WorkerRig, cli: Cli):
    call = cli.swarm_tool("store-progress", progress="half way there")
    task = await on.run(f"Report. {call}[[say:Reported]]")
    # Without the three headers the call would be refused, or land on no task.
    assert "half way there" in [entry.get("newValue") for entry in task["logs"]]
    assert (task["status"], task["output"]) == ("completed", "Reported")


@scenario("401")
async def test_a_refused_login(on: WorkerRig):
    await fails(on, "[[fail:401 Incorrect API key provided]]", "authentication")


@scenario("429")
async def test_a_rate_limit(on: WorkerRig):
    await fails(on, "[[fail:429 Rate limit exceeded]]", "rate")


@scenario("500")
async def test_a_failing_server(on: WorkerRig):
    await fails(on, "[[fail:500 Internal server error]]", "server", "overloaded")


@scenario("refused")
async def test_a_refused_connection(tmp_path: Path, cli: Cli):
    async with cli.worker(tmp_path, NOWHERE, **SHORT) as on:
        await fails(on, "[[say:Never]]", "network")


@scenario("cut")
async def test_a_stream_that_breaks_off(on: WorkerRig):
    """The task fails, unless the agent gets the whole answer in another way."""
    task = await on.run("Fail. [[cut]][[say:An answer that breaks off early]]")
    if task["status"] == "completed":
        assert task["output"] == "An answer that breaks off early"
    else:
        assert (task["status"], bool(task["failureReason"])) == ("failed", True)


async def fails(on: WorkerRig, tags: str, *words: str) -> None:
    task = await on.run(f"Fail. {tags}")
    assert task["status"] == "failed", task["output"]
    reason = task["failureReason"].lower()
    assert any(word in reason for word in (*words, SILENT))


@scenario("cancel")
async def test_cancel_in_the_middle_of_a_tool_leaves_no_process(on: WorkerRig):
    task_id = await sleeping(on)
    await on.rig.post(f"/api/tasks/{task_id}/cancel")
    await on.rig.until(nobody_sleeps(on), within_s=14)
    await on.rig.settled(task_id)
    assert (await on.rig.task(task_id))["status"] == "cancelled"


@scenario("crash")
async def test_a_killed_agent_fails_its_task(on: WorkerRig):
    task_id = await sleeping(on)
    os.kill(first_process(on.worker.pid, (await sleepers(on))[0]), signal.SIGKILL)
    task = await on.rig.until_ended(task_id, within_s=on.within_s)
    assert (task["status"], "killed" in task["failureReason"]) == ("failed", True)
    await on.rig.until(nobody_sleeps(on), within_s=14)


@scenario("replay")
async def test_a_killed_worker_loses_nothing(tmp_path: Path, cli: Cli):
    """What the agent had done is told by the next worker, which goes on with the task."""
    (home := tmp_path / "home").mkdir()
    (work := tmp_path / "work").mkdir()
    later = {"SWARM_LOG_FLUSH_INTERVAL_S": "60", "SWARM_EVENTS_FLUSH_INTERVAL_S": "60"}
    async with cli.model() as model, swarm_rig(tmp_path) as rig:
        env = {**rig.env, **cli.env(home, model.url)}
        async with worker_process(tmp_path, {**env, **later}) as worker:
            on = WorkerRig(rig, model, work, home, worker)
            task_id = await sleeping(on, once=True)
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
            async with worker_process(tmp_path, env):
                (follow_up,) = await rig.until(lambda: children_of(rig, task_id))
                ended = await rig.until_ended(follow_up["id"], within_s=on.within_s)
                await rig.settled(follow_up["id"])
            assert (ended["status"], ended["output"]) == ("completed", "Slept")
            assert (await rig.task(task_id))["status"] == "superseded"
            events = [event["event"] for event in await rig.events(task_id)]
            assert events.count("tool.start") == 1
            assert await rig.lines(task_id)
            assert not await sleepers(on)


@scenario("resume")
async def test_a_follow_up_continues_the_session(on: WorkerRig):
    first = await on.run("Remember the word heron. [[say:I will]]")
    before = len(on.requests)
    second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
    assert (second["status"], second["output"]) == ("completed", "heron")
    assert second["claudeSessionId"] == first["claudeSessionId"]
    asked = on.requests[before:]
    assert any("Remember the word heron" in json.dumps(one.body) for one in asked)
    assert not any("Remember the word heron" in one.prompt for one in asked), "no preamble"


@scenario("lost")
async def test_a_session_that_is_gone_starts_afresh_with_the_story(on: WorkerRig):
    first = await on.run("Remember the word heron. [[say:I will]]")
    on.forget(first["claudeSessionId"])
    before = len(on.requests)
    second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
    assert (second["status"], second["output"]) == ("completed", "heron")
    assert second["claudeSessionId"] != first["claudeSessionId"]
    asked = on.requests[before:]
    assert any("Remember the word heron" in one.prompt for one in asked), "the preamble"


@scenario("long")
async def test_a_prompt_of_a_mebibyte(on: WorkerRig):
    task = await on.run(f"{'x' * (1 << 20)} [[say:That was long]]")
    assert (task["status"], task["output"]) == ("completed", "That was long")
    assert not on.requests or max(one.size for one in on.requests) > 1 << 20


@scenario("dash")
async def test_a_prompt_that_begins_like_an_option(on: WorkerRig):
    await are_taken_literally(on, "--help me", "-x")


@scenario("slash")
async def test_a_prompt_that_begins_like_a_command(on: WorkerRig):
    await are_taken_literally(on, "/help", "/compact this", "@nosuchfile")


async def are_taken_literally(on: WorkerRig, *texts: str) -> None:
    for text in texts:
        before = len(on.requests)
        task = await on.run(f"{text} [[say:Understood]]")
        assert (task["status"], task["output"]) == ("completed", "Understood"), text
        asked = on.prompts()[before:]
        assert not on.requests or any(text in prompt for prompt in asked), text


async def sleeping(on: WorkerRig, *, once: bool = False) -> str:
    """Submit a task whose tool waits, with a child that has left its group; return it then."""
    nap = "setsid sleep 4321 & sleep 4321"
    command = f"test -e slept || {{ touch slept; {nap}; }}" if once else f"{nap}; echo never"
    task_id = await on.submit(f"Wait. [[bash:{command}]] [[say:Slept]]")

    async def are_both_there() -> bool:
        return len(await sleepers(on)) >= 2

    await on.rig.until(are_both_there, within_s=on.within_s)
    return task_id


async def sleepers(on: WorkerRig) -> list[int]:
    """Return the processes called `sleep` that run in the task's directory."""
    found = []
    for info in procfs.snapshot().values():
        place = Path(f"/proc/{info.pid}")
        try:
            is_one = (place / "comm").read_text() == "sleep\n"
            if is_one and (place / "cwd").readlink() == on.work and not info.is_dead:
                found.append(info.pid)
        except OSError:
            continue
    return found


def nobody_sleeps(on: WorkerRig) -> Any:
    async def look() -> bool:
        return not await sleepers(on)

    return look


def first_process(worker: int, pid: int) -> int:
    """Return the ancestor of a process that the worker started: the agent."""
    table = procfs.snapshot()
    while table[pid].parent != worker:
        pid = table[pid].parent
    return pid


async def children_of(rig: Rig, task_id: str) -> list[dict[str, Any]]:
    rows = (await rig.get("/api/tasks", fields="full", limit=100))["tasks"]
    return [row for row in rows if row.get("parentTaskId") == task_id]
