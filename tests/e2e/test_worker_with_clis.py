"""A worker with a real CLI of one process per task, from the task to the server's rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import real_gemini
import real_pi_cli
from scripted_model import ScriptedModel
from worker_rig import MANY_SECONDS, WorkerRig, worker_rig

from agent_swarm_worker.processes import procfs

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@dataclass(frozen=True)
class Cli:
    """One harness, and what its CLI calls things."""

    name: str
    env: Callable[..., dict[str, str]]
    shell: str
    store: str
    records: str
    """Where its sessions are, below the home."""

    def worker(self, folder: Path) -> AbstractAsyncContextManager[WorkerRig]:
        env = partial(self.env, HARNESS_PROVIDER=self.name)
        return worker_rig(folder, env, partial(ScriptedModel, self.shell))


CLIS = [
    Cli("gemini", real_gemini.gemini_env, real_gemini.SHELL, real_gemini.STORE, ".gemini/tmp"),
    Cli(
        "pi-cli", real_pi_cli.pi_cli_env, real_pi_cli.SHELL, real_pi_cli.STORE, ".pi/agent/sessions"
    ),
]


@pytest.fixture(params=CLIS, ids=[cli.name for cli in CLIS])
def cli(request: pytest.FixtureRequest) -> Cli:
    return request.param  # type: ignore[no-any-return]


async def test_an_answer_and_a_tool(tmp_path: Path, cli: Cli):
    async with cli.worker(tmp_path) as on:
        task = await on.run("Look. [[bash:echo seen > seen.txt]][[say:Done looking]]")
        assert (task["status"], task["output"]) == ("completed", "Done looking")
        assert (on.work / "seen.txt").read_text() == "seen\n"
        events = [event["event"] for event in await on.rig.events(task["id"])]
        assert events.count("tool.start") == events.count("tool.end") == 1
        (cost,) = await on.rig.costs(task["id"])
        assert cost["inputTokens"] > 0
        assert cost["isError"] is False
        assert not list(tmp_path.glob("state/**/settings.json")), "private files are gone"


async def test_the_agent_reaches_the_swarm_as_itself_and_for_its_task(tmp_path: Path, cli: Cli):
    said = json.dumps({"progress": "half way there"})
    async with cli.worker(tmp_path) as on:
        task = await on.run(f"Report. [[tool:{cli.store} {said}]][[say:Reported]]")
        # Without the three headers the call would be refused, or land on no task.
        assert "half way there" in [entry.get("newValue") for entry in task["logs"]]
        assert task["status"] == "completed"


@pytest.mark.parametrize(("status", "words"), [(401, "authentication"), (429, "rate")])
async def test_api_errors_fail_the_task_with_their_class(
    tmp_path: Path, cli: Cli, status: int, words: str
):
    async with cli.worker(tmp_path) as on:
        task = await on.run(f"Fail. [[fail:{status}]]")
        assert task["status"] == "failed"
        assert words in task["failureReason"].lower()


async def test_cancel_in_the_middle_of_a_tool_leaves_no_process(tmp_path: Path, cli: Cli):
    async with cli.worker(tmp_path) as on:
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


async def test_a_follow_up_can_continue_a_copy_of_the_session(tmp_path: Path):
    env = partial(real_pi_cli.pi_cli_env, HARNESS_PROVIDER="pi-cli", RESUME_MODE="fork")
    async with worker_rig(tmp_path, env, partial(ScriptedModel, real_pi_cli.SHELL)) as on:
        first = await on.run("Remember the word heron. [[say:I will]]")
        second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
        third = await on.run("Again? [[say:heron]]", parentTaskId=first["id"])
        ids = {task["claudeSessionId"] for task in (first, second, third)}
        assert (second["output"], third["output"], len(ids)) == ("heron", "heron", 3)
        body = json.dumps(on.model.requests[-1].body)
        assert "Remember the word heron" in body
        assert "Which word?" not in body, "the first session stayed as it was"


def command_of(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""


async def test_a_follow_up_continues_the_session_until_it_is_gone(tmp_path: Path, cli: Cli):
    async with cli.worker(tmp_path) as on:
        first = await on.run("Remember the word heron. [[say:I will]]")
        second = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
        assert second["claudeSessionId"] == first["claudeSessionId"]
        assert "Remember the word heron" in json.dumps(on.model.requests[-1].body)
        assert "Remember the word heron" not in on.prompts()[-1]

        shutil.rmtree(on.home / cli.records)
        third = await on.run("Which word? [[say:heron]]", parentTaskId=first["id"])
        assert third["status"] == "completed"
        assert third["claudeSessionId"] != first["claudeSessionId"]
        assert "Remember the word heron" in on.prompts()[-1], "the preamble tells it"


@pytest.mark.parametrize("text", ["--help me", "/help", "@nosuchfile"])
async def test_prompts_that_look_like_something_else(tmp_path: Path, cli: Cli, text: str):
    async with cli.worker(tmp_path) as on:
        task = await on.run(f"{text} [[say:Understood]]")
        assert (task["status"], task["output"]) == ("completed", "Understood")
        assert text in on.prompts()[0]


async def test_a_prompt_of_a_mebibyte(tmp_path: Path, cli: Cli):
    async with cli.worker(tmp_path) as on:
        task = await on.run(f"{'x' * (1 << 20)} [[say:That was long]]")
        assert task["output"] == "That was long"
        assert on.model.requests[0].size > 1 << 20
