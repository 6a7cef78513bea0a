"""A worker under each permission policy, with real harnesses and people who answer over the API."""

from __future__ import annotations

import json
import signal
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from cli_table import PINNED
from clis import Cli
from real_claude import hermetic_env
from real_codex import codex_env
from rig import Rig, swarm_rig
from scripted_model import ScriptedModel
from worker_process import worker_process
from worker_rig import WorkerRig, worker_rig

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

MANY_SECONDS = 90
OPENCODE = next(cli for cli in PINNED if cli.name == "opencode")


@dataclass(frozen=True)
class Kind:
    name: str
    env: Any
    model: Any
    write: str
    """The tag with which the model writes the file PATH."""


PATCH = json.dumps({"patch": "*** Begin Patch\n*** Add File: PATH\n+heron\n*** End Patch\n"})
KINDS = [
    Kind(
        "claude",
        partial(hermetic_env, HARNESS_PROVIDER="claude"),
        ScriptedModel,
        '[[tool:Write {"file_path": "PATH", "content": "heron"}]]',
    ),
    Kind(
        "codex",
        partial(codex_env, HARNESS_PROVIDER="codex"),
        ScriptedModel,
        f"[[tool:apply_patch {PATCH}]]",
    ),
    Kind(
        "opencode",
        OPENCODE.env,
        OPENCODE.model,
        '[[tool:write {"filePath": "PATH", "content": "heron"}]]',
    ),
]
of_each = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def under(
    tmp_path: Path, kind: Kind, policy: str, **more: str
) -> AbstractAsyncContextManager[WorkerRig]:
    env = partial(kind.env, SWARM_PERMISSIONS=policy, **more)
    return worker_rig(tmp_path, env, kind.model)


async def question(rig: Rig) -> dict[str, Any]:
    async def look() -> Any:
        rows = (await rig.get("/api/approval-requests", status="pending"))["approvalRequests"]
        return (rows[0],) if rows else None

    return dict((await rig.until(look, within_s=MANY_SECONDS))[0])


async def answer(rig: Rig, asked: dict[str, Any], *, yes: bool) -> None:
    (one,) = asked["questions"]
    body = {"responses": {one["id"]: {"approved": yes}}, "respondedBy": "Ada"}
    await rig.post(f"/api/approval-requests/{asked['id']}/respond", body)


def heard(on: WorkerRig) -> str:
    return "\n".join(said for request in on.model.requests for said in request.heard)


@of_each
async def test_read_only_denies_what_writes_and_tells_the_agent(tmp_path: Path, kind: Kind):
    async with under(tmp_path, kind, "read-only") as on:
        on.within_s = MANY_SECONDS
        task = await on.run("Look. [[bash:cat /etc/hostname]] [[bash:touch made]]")
        assert not (on.work / "made").exists()
        events = await on.rig.events(task["id"])
        ends = [event["data"] for event in events if event["event"] == "tool.end"]
        reasons = {end["permission"]: end.get("permissionReason", "") for end in ends}
        assert set(reasons) == {"allowed", "denied"}, ends
        assert reasons["denied"], ends
        assert json.dumps(reasons["denied"])[1:-1] in json.dumps(heard(on))


REPORTING = [cli for cli in PINNED if cli.name in ("opencode", "qwen", "grok")]


@pytest.mark.parametrize("agent", REPORTING, ids=[cli.name for cli in REPORTING])
async def test_an_agent_over_acp_may_use_the_swarms_own_tools(tmp_path: Path, agent: Cli):
    async with agent.worker(tmp_path, SWARM_PERMISSIONS="read-only") as on:
        on.within_s = MANY_SECONDS
        task_id = await on.submit("Wait. [[say:Done]]")
        await on.rig.until_ended(task_id, within_s=MANY_SECONDS)
        report = agent.swarm_tool("store-progress", taskId=task_id, progress="half way")
        task = await on.run(f"Report. {report} [[say:Done]]")
        events = await on.rig.events(task["id"])
        ends = [event["data"] for event in events if event["event"] == "tool.end"]
        assert "denied" not in {end.get("permission") for end in ends}, ends
        names = [event["data"]["toolName"] for event in events if event["event"] == "tool.start"]
        assert "mcp__agent-swarm__store-progress" in names, events


@of_each
async def test_rules_keep_the_agent_in_its_directory(tmp_path: Path, kind: Kind):
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\neffect = "allow"\nactions = ["edit", "write"]\n')
    inside, outside = tmp_path / "work/in.txt", tmp_path / "out.txt"
    writes = [kind.write.replace("PATH", str(path)) for path in (inside, outside)]
    async with under(tmp_path, kind, "rules", SWARM_PERMISSION_RULES=str(rules)) as on:
        on.within_s = MANY_SECONDS
        await on.run(f"Write. {' '.join(writes)}")
        assert inside.exists()
        assert not outside.exists()


@of_each
async def test_a_person_is_asked_and_allows(tmp_path: Path, kind: Kind):
    async with under(tmp_path, kind, "ask") as on:
        task_id = await on.rig.submit("Go. [[bash:touch made]] [[say:Made]]", dir=str(on.work))
        asked = await question(on.rig)
        assert "touch made" in json.dumps(asked)
        assert not (on.work / "made").exists()
        await answer(on.rig, asked, yes=True)
        task = await on.rig.until_ended(task_id, within_s=MANY_SECONDS)
        assert (task["status"], task["output"]) == ("completed", "Made")
        assert (on.work / "made").exists()
        await on.rig.settled(task_id)


@of_each
async def test_nobody_answers(tmp_path: Path, kind: Kind):
    async with under(tmp_path, kind, "ask", SWARM_APPROVAL_TIMEOUT_S="2") as on:
        on.within_s = MANY_SECONDS
        await on.run("Go. [[bash:touch made]]")
        assert not (on.work / "made").exists()


@pytest.mark.parametrize("kind", KINDS[:2], ids=["claude", "codex"])
async def test_the_worker_is_killed_while_a_question_is_open(tmp_path: Path, kind: Kind):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    async with kind.model() as model, swarm_rig(tmp_path) as rig:
        env = rig.env | kind.env(home, model.url, SWARM_PERMISSIONS="ask")
        async with worker_process(tmp_path, env) as worker:
            await rig.submit("Go. [[bash:touch made]] [[say:Made]]", dir=str(work))
            first = await question(rig)
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        await anyio.sleep(2)  # the harness could go on by itself
        assert not (work / "made").exists()
        async with worker_process(tmp_path, env):

            async def asked_again() -> Any:
                rows = await rig.get("/api/approval-requests", status="pending")
                found = [one for one in rows["approvalRequests"] if one["id"] != first["id"]]
                return found or None

            (second,) = list(await rig.until(asked_again, within_s=MANY_SECONDS))
            assert not (work / "made").exists()
            await answer(rig, second, yes=True)

            async def completed() -> Any:
                rows = (await rig.get("/api/tasks", fields="full"))["tasks"]
                return next((one for one in rows if one["status"] == "completed"), None)

            child = await rig.until(completed, within_s=MANY_SECONDS)
            assert (await rig.task(child["id"]))["output"] == "Made"
        assert (work / "made").exists()
