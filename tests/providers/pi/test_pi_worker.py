"""A worker with pi on a local swarm, from a task to the rows of the server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from fake_model import FakeModel, Raw, Silence, Step, Turn
from patience import HANG_S
from rig import KEY, Rig, running_worker, swarm_rig
from worker_process import worker_process

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("api", ["openai", "anthropic"])
STORE = "mcp__agent-swarm__store-progress"


@dataclass
class PiWorker:
    """A swarm, a worker whose harness is pi, and the model behind it."""

    rig: Rig
    model: FakeModel
    work: Path

    async def run(self, text: str, *steps: Step, **more: Any) -> dict[str, Any]:
        self.model.steps, self.model.requests = list(steps), []
        task_id = await self.rig.submit(text, dir=str(self.work), **more)
        task = await self.rig.until_ended(task_id, within_s=40)
        await self.rig.settled(task_id)
        return dict(task)


@asynccontextmanager
async def pi_worker(tmp_path: Path, api: str = "openai", **env: str) -> AsyncIterator[PiWorker]:
    work = tmp_path / "work"
    work.mkdir()
    async with FakeModel() as model, swarm_rig(tmp_path) as rig:
        settings = {"HARNESS_PROVIDER": "pi", "PI_RETRY_BASE_S": "0.01"}
        async with running_worker(rig, {**settings, **model.env(api), **env}):
            yield PiWorker(rig, model, work)


@BOTH
async def test_a_task_from_end_to_end(tmp_path: Path, api: str):
    async with pi_worker(tmp_path, api) as on:
        bash = ("bash", {"command": f"echo {KEY} > key.txt; cat key.txt; ls"})
        said = (STORE, {"progress": "half way there"})
        task = await on.run(
            "Leave a note.",
            Turn("On it.", [bash]),
            Turn("", [said]),
            Turn("All is well.", cached=50),
        )
        assert (task["status"], task["output"]) == ("completed", "All is well.")
        assert (on.work / "key.txt").read_text() == f"{KEY}\n"
        # The swarm's own tools are there, and speak for this agent and this task.
        assert "half way there" in [entry.get("newValue") for entry in task["logs"]]
        (cost,) = await on.rig.costs(task["id"])
        assert (cost["inputTokens"], cost["cacheReadTokens"], cost["outputTokens"]) == (300, 50, 30)
        assert cost["isError"] is False
        lines = await on.rig.lines(task["id"])
        assert KEY not in json.dumps(lines)
        kinds = [line["type"] for line in lines if line["type"] != "stderr"]
        assert kinds[:3] == ["system", "user", "assistant"]
        assert lines[-1]["type"] == "result"
        events = [event["event"] for event in await on.rig.events(task["id"])]
        assert events.count("tool.start") == events.count("tool.end") == 2
        assert (await on.rig.get(f"/api/tasks/{task['id']}/context"))["snapshots"]
        assert "Leave a note." in on.model.requests[0].messages
        offered = json.dumps(on.model.requests[0].body["tools"])
        assert all(f'"{name}"' in offered for name in ("bash", "read", "edit", STORE))


@BOTH
async def test_a_follow_up_continues_the_conversation(tmp_path: Path, api: str):
    async with pi_worker(tmp_path, api) as on:
        first = await on.run("Remember the number 7.", Turn("Seven it is."))
        task = await on.run(
            "Which number?", Turn("7."), parentTaskId=first["id"], taskType="follow-up"
        )
        assert task["output"] == "7."
        assert "Seven it is." in on.model.requests[0].messages
        assert first["claudeSessionId"] == task["claudeSessionId"]


@pytest.mark.parametrize(
    ("model", "step", "text"),
    [
        ("nosuch/model", Turn(), "nosuch/model"),
        ("anthropic/claude-opus-4-8", Turn(), "ANTHROPIC_API_KEY"),
        ("openai/m", Raw(401, {"error": {"message": "no such key"}}), "no such key"),
        ("openai/m", Raw(404, {"error": {"message": "model m does not exist"}}), "no such model"),
    ],
)
async def test_what_fails_says_why(tmp_path: Path, model: str, step: Step, text: str):
    async with pi_worker(tmp_path) as on:
        task = await on.run("Try.", step, model=model)
        assert task["status"] == "failed"
        assert text.lower() in task["failureReason"].lower()
        again = await on.run("Try the usual one.", Turn("Fine."))
        assert again["output"] == "Fine."


@BOTH
async def test_cancelling_ends_it_at_once(tmp_path: Path, api: str):
    async with pi_worker(tmp_path, api) as on:
        on.model.steps = [Turn("Wait.", [("bash", {"command": "sleep 321"})]), Silence()]
        task_id = await on.rig.submit("Wait.", dir=str(on.work))

        async def is_waiting() -> bool:
            return any(event["event"] == "tool.start" for event in await on.rig.events(task_id))

        await on.rig.until(is_waiting, within_s=30)
        began_s = time.monotonic()
        await on.rig.post(f"/api/tasks/{task_id}/cancel")
        await on.rig.settled(task_id)
        assert time.monotonic() - began_s < HANG_S
        assert (await on.rig.task(task_id))["status"] == "cancelled"
        assert (await on.rig.costs(task_id))[0]["inputTokens"] == 100


@BOTH
async def test_steering_through_the_swarm(tmp_path: Path, api: str):
    async with pi_worker(tmp_path, api, STEERING_ENABLED="true") as on:
        on.model.steps = [Turn("Wait.", [("bash", {"command": "sleep 4"})]), Turn("Understood.")]
        task_id = await on.rig.submit("Wait.", dir=str(on.work))
        await on.rig.until_status(task_id, "in_progress", within_s=30)
        body = {"message": "Use the blue one.", "mode": "steer"}
        await on.rig.post(f"/api/tasks/{task_id}/steer", body)
        task = await on.rig.until_ended(task_id, within_s=30)
        assert task["output"] == "Understood."
        assert "Use the blue one." in on.model.requests[1].messages


async def test_many_at_once_do_not_mix(tmp_path: Path):
    async with pi_worker(tmp_path, MAX_CONCURRENT_TASKS="4") as on:
        ids = [await on.rig.submit(f"Task {n}.", dir=str(on.work)) for n in range(4)]
        tasks = [await on.rig.until_ended(task_id, within_s=40) for task_id in ids]
        assert [task["status"] for task in tasks] == ["completed"] * 4
        assert len({task["claudeSessionId"] for task in tasks}) == 4
        for number in range(4):
            assert sum(f"Task {number}." in request.messages for request in on.model.requests) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_an_idle_worker_is_small(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = {**rig.env, "HARNESS_PROVIDER": "pi", "ANTHROPIC_API_KEY": "sk-ant-0123456789abcdef"}
        command = [sys.executable, "-m", "agent_swarm_worker", "worker"]
        worker = await anyio.open_process(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await rig.until(rig.agent_row, within_s=30)
            await anyio.sleep(0.5)
            status = Path(f"/proc/{worker.pid}/status").read_text()
        finally:
            worker.terminate()
            await worker.wait()
    resident_kb = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmRSS"))
    assert resident_kb < 90 * 1024


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "ftp://proxy.test"),
        ("ALL_PROXY", "http://[::1"),
        ("SSL_CERT_FILE", "/nonexistent/ca.pem"),
        ("NODE_EXTRA_CA_CERTS", "/nonexistent/ca.pem"),
        ("ANTHROPIC_BASE_URL", "ftp://model.test"),
    ],
)
async def test_what_only_the_model_needs_is_checked_at_the_start(
    tmp_path: Path, name: str, value: str
):
    async with swarm_rig(tmp_path) as rig:
        env = {"HARNESS_PROVIDER": "pi", "ANTHROPIC_API_KEY": "sk-ant-0123456789"}
        env |= {"ANTHROPIC_BASE_URL": "", name: value}  # else that of the rig
        async with worker_process(tmp_path, {**rig.env, **env}) as worker:
            assert await worker.exit_code() == 78, worker.text()
            assert value in worker.text().strip().splitlines()[-1]
