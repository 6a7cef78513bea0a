"""A lead gives work to a worker and hears what became of it: two workers of ours on one swarm.

Both agents use the swarm's own tools, over the configuration the worker gives a harness.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harnesses import HARNESSES, HarnessKind
from rig import AGENT, Rig, running_worker, swarm_rig

from agent_swarm_worker.processes import procfs
from agent_swarm_worker.worker.loops import heartbeat, paused_tasks

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", HARNESSES)]

LEAD = AGENT
WORKER = "0a9e0000-0000-4000-8000-000000000002"
PATIENCE_S = 45
SEND = "mcp__agent-swarm__send-task"
CANCEL = "mcp__agent-swarm__cancel-task"
DETAILS = "mcp__agent-swarm__get-task-details"
AT_LENGTH = "It matters that it is done with care and in the order given. " * 12
"""Put before the tags of a task, so that whoever quotes its beginning quotes no tag."""


@dataclass
class Swarm:
    """A lead and a worker at work."""

    rig: Rig
    work: Path
    states: dict[str, Path]

    async def ask_lead(self, words: str, *tags: str) -> str:
        return await self.rig.submit(brief(words, *tags), dir=str(self.work), agentId=LEAD)

    async def ended(self, task_id: str) -> dict[str, Any]:
        task = await self.rig.until_ended(task_id, within_s=PATIENCE_S)
        await self.over(task_id)
        return dict(task)

    async def over(self, task_id: str) -> None:
        """Wait until no worker has anything more to say of a task."""

        async def look() -> bool:
            rows = (await self.rig.get("/api/active-sessions"))["sessions"]
            return all(row.get("taskId") != task_id for row in rows)

        await self.rig.until(look, within_s=PATIENCE_S)

    async def tasks(self) -> list[dict[str, Any]]:
        return list((await self.rig.get("/api/tasks", limit=100))["tasks"])

    async def child_of(self, task_id: str, agent_id: str) -> dict[str, Any]:
        """The one task of this agent that goes on from another."""

        async def look() -> list[dict[str, Any]]:
            rows = [await self.rig.task(row["id"]) for row in await self.tasks()]
            return [
                row
                for row in rows
                if row.get("parentTaskId") == task_id and row.get("agentId") == agent_id
            ]

        (child,) = await self.rig.until(look, within_s=PATIENCE_S)
        return dict(child)

    def prompts(self, agent_id: str, task_id: str) -> list[str]:
        """What the sessions of a task were asked, oldest first; the journals have it."""
        journals = sorted((self.states[agent_id]).rglob("*.jsonl"))
        first_lines = [json.loads(path.read_text().partition("\n")[0]) for path in journals]
        return [line["prompt"] for line in first_lines if line.get("taskId") == task_id]


@asynccontextmanager
async def swarm(tmp_path: Path, kind: HarnessKind) -> AsyncIterator[Swarm]:
    """Start both. Each has a home and a state of its own, as on two machines."""
    work = tmp_path / "work"
    work.mkdir()
    states = {LEAD: tmp_path / "lead-state", WORKER: tmp_path / "worker-state"}
    async with kind.model() as model, swarm_rig(tmp_path) as rig:

        def env(agent_id: str, name: str) -> dict[str, str]:
            home = tmp_path / f"home-of-{name}"
            home.mkdir()
            mine = {
                "AGENT_ID": agent_id,
                "AGENT_NAME": name,
                "SWARM_STATE_DIR": str(states[agent_id]),
            }
            return {**kind.env(home, model.url), **mine}

        async with (
            running_worker(rig, env(LEAD, "lead"), role="lead"),
            running_worker(rig, env(WORKER, "worker")),
        ):
            yield Swarm(rig, work, states)


def brief(words: str, *tags: str) -> str:
    return f"{words} {AT_LENGTH} {' '.join(tags)}"


def send(work: Path, words: str, *tags: str, **more: Any) -> str:
    """The tag that makes an agent send a task; the tags in it are for whoever gets that."""
    given = {"agentId": WORKER, "task": brief(words, *tags), "dir": str(work), **more}
    # Brackets end a tag, also inside a JSON string.
    told = json.dumps(given).replace("[", "\\u005b").replace("]", "\\u005d")
    return f"[[tool:{SEND} {told}]]"


def long_time() -> str:
    """A number of seconds that no other process on this machine sleeps."""
    return f"86400.{time.time_ns()}"


def processes_with(mark: str) -> list[int]:
    def command(pid: int) -> bytes:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""

    return [pid for pid in procfs.snapshot() if mark.encode() in command(pid)]


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice sooner than usual what happened to a task."""
    for module in (heartbeat, paused_tasks):
        monkeypatch.setattr(module, "CHECK_INTERVAL_S", 0.5)


async def until_running(rig: Rig, mark: str) -> None:
    async def look() -> list[int]:
        return processes_with(mark)

    await rig.until(look, within_s=PATIENCE_S)


async def until_gone(rig: Rig, mark: str) -> None:
    async def look() -> bool:
        return not processes_with(mark)

    await rig.until(look, within_s=14)


async def test_a_task_goes_to_a_worker_and_its_result_comes_back(tmp_path: Path, kind: HarnessKind):
    async with swarm(tmp_path, kind) as on:
        task = send(on.work, "Paint it.", "[[bash:echo red > paint.txt]]", "[[say:Painted red]]")
        asked = await on.ask_lead("Have the bridge painted.", task, "[[say:Handed over]]")
        lead_task = await on.ended(asked)
        assert (lead_task["status"], lead_task["output"]) == ("completed", "Handed over")

        given = await on.child_of(asked, WORKER)
        done = await on.ended(given["id"])
        assert (done["creatorAgentId"], done["status"]) == (LEAD, "completed")
        assert done["output"] == "Painted red"
        assert (on.work / "paint.txt").read_text() == "red\n"
        (prompt,) = on.prompts(WORKER, done["id"])
        assert "Paint it." in prompt
        assert "Have the bridge painted." in prompt, "what it is for"

        told = await on.ended((await on.child_of(done["id"], LEAD))["id"])
        assert (told["taskType"], told["status"]) == ("follow-up", "completed")
        (prompt,) = on.prompts(LEAD, told["id"])
        assert "Painted red" in prompt
        assert len(await on.tasks()) == 3, "a lead's own tasks are followed up by nobody"
        for agent_id, task_id in ((LEAD, asked), (WORKER, done["id"]), (LEAD, told["id"])):
            assert [cost["agentId"] for cost in await on.rig.costs(task_id)] == [agent_id]


async def test_a_lead_hears_that_its_task_failed_and_why(tmp_path: Path, kind: HarnessKind):
    async with swarm(tmp_path, kind) as on:
        task = send(on.work, "Paint it.", "[[fail:400 the paint has run out]]")
        asked = await on.ask_lead("Have it painted.", task, "[[say:Handed over]]")
        failed = await on.ended((await on.child_of(asked, WORKER))["id"])
        assert failed["status"] == "failed"
        assert "the paint has run out" in failed["failureReason"]
        told = await on.ended((await on.child_of(failed["id"], LEAD))["id"])
        (prompt,) = on.prompts(LEAD, told["id"])
        assert "the paint has run out" in prompt


async def test_what_a_lead_cancels_stops_and_the_lead_can_see_it(tmp_path: Path, kind: HarnessKind):
    mark = long_time()
    async with swarm(tmp_path, kind) as on:
        task = send(on.work, "Wait.", f"[[bash:setsid sleep {mark} & sleep {mark}; echo never]]")
        asked = await on.ask_lead("Have somebody wait.", task, "[[say:Handed over]]")
        given = await on.child_of(asked, WORKER)
        await until_running(on.rig, mark)

        which = json.dumps({"taskId": given["id"]})
        stopped = await on.ask_lead(
            "Stop that.", f"[[tool:{CANCEL} {which}]]", f"[[tool:{DETAILS} {which}]]"
        )
        assert (await on.ended(stopped))["status"] == "completed"
        await until_gone(on.rig, mark)
        await on.over(given["id"])
        row = await on.rig.task(given["id"])
        assert (row["status"], row.get("output")) == ("cancelled", None)
        seen = [log["content"] for log in await on.rig.logs(stopped)]
        assert any(f'Task \\"{given["id"]}\\" is cancelled' in line for line in seen)
        assert not [row for row in await on.tasks() if row.get("parentTaskId") == given["id"]]


async def begun_and_waiting(on: Swarm) -> dict[str, Any]:
    """Have the worker begin a task that waits the first time and says *Painted* the second."""
    wait = f"test -e waiting || {{ touch waiting; sleep {long_time()}; }}"
    task = send(on.work, "Paint it.", f"[[bash:{wait}]]", "[[say:Painted]]")
    asked = await on.ask_lead("Have it painted.", task, "[[say:Handed over]]")
    given = await on.child_of(asked, WORKER)

    async def is_known_and_waits() -> bool:
        row = await on.rig.task(given["id"])
        return (on.work / "waiting").exists() and bool(row.get("claudeSessionId"))

    await on.rig.until(is_known_and_waits, within_s=PATIENCE_S)
    return await on.rig.task(given["id"])


async def test_a_task_handed_back_is_continued_with_what_was_known(
    tmp_path: Path, kind: HarnessKind
):
    async with swarm(tmp_path, kind) as on:
        given = await begun_and_waiting(on)
        body = {"reason": "context_limits"}
        answer = await on.rig.post(f"/api/tasks/{given['id']}/supersede", body)
        resumed = await on.ended(answer["resumeTaskId"])
        assert (resumed["agentId"], resumed["status"]) == (WORKER, "completed")
        assert resumed["taskType"] == "resume"
        (prompt,) = on.prompts(WORKER, resumed["id"])
        if kind.can_resume:
            assert resumed["claudeSessionId"] == given["claudeSessionId"]
        else:
            assert resumed["output"] == "Painted", "the preamble told it the task in full"
        assert ("[[say:Painted]]" in prompt) is not kind.can_resume
        await on.over(given["id"])
        assert (await on.rig.task(given["id"]))["status"] == "superseded"
        told = await on.child_of(resumed["id"], LEAD)
        assert (await on.ended(told["id"]))["status"] == "completed"


async def test_a_paused_task_goes_on_when_it_is_resumed(tmp_path: Path, kind: HarnessKind):
    async with swarm(tmp_path, kind) as on:
        given = await begun_and_waiting(on)
        await on.rig.post(f"/api/tasks/{given['id']}/pause")
        await on.over(given["id"])
        assert (await on.rig.task(given["id"]))["status"] == "paused"

        await on.rig.post(f"/api/tasks/{given['id']}/resume")
        done = await on.ended(given["id"])
        assert (done["status"], done["output"]) == ("completed", "Painted")
        assert (done["claudeSessionId"] == given["claudeSessionId"]) is kind.can_resume
        assert len(on.prompts(WORKER, given["id"])) == 2
        told = await on.child_of(given["id"], LEAD)
        assert (await on.ended(told["id"]))["status"] == "completed"


async def test_a_follow_up_knows_what_came_before(tmp_path: Path, kind: HarnessKind):
    async with swarm(tmp_path, kind) as on:
        first = send(on.work, "The secret bird is the heron.", "[[say:I will remember]]")
        asked = await on.ask_lead("Tell it.", first, "[[say:Handed over]]")
        done = await on.ended((await on.child_of(asked, WORKER))["id"])

        parent = {"parentTaskId": done["id"], "taskType": "follow-up"}
        second = send(on.work, "Which bird?", "[[say:the heron]]", **parent)
        await on.ended(await on.ask_lead("Ask it.", second, "[[say:Asked]]"))
        answered = await on.ended((await on.child_of(done["id"], WORKER))["id"])
        assert answered["output"] == "the heron"
        (prompt,) = on.prompts(WORKER, answered["id"])
        continues = answered["claudeSessionId"] == done["claudeSessionId"]
        assert continues is kind.can_resume
        assert ("The secret bird is the heron." in prompt) is not continues
