"""The swarm's skills on a worker's disk, and their commands in its prompts."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recording_proxy import proxy_rig
from rig import AGENT, AGENTS, Rig, harness, running_worker, swarm_rig

from agent_swarm_worker import logs
from agent_swarm_worker.contract import Capabilities, Skills
from agent_swarm_worker.providers.registry import known_specs
from agent_swarm_worker.providers.subprocess.adapter import SubprocessAdapter
from agent_swarm_worker.providers.subprocess.spec import SPEC
from agent_swarm_worker.skills.folders import skill_folders

pytestmark = pytest.mark.anyio

SYNCED = {"SWARM_SYNC_SKILLS": "true"}


async def install(rig: Rig, name: str, *, body: str = "body", **files: str) -> str:
    content = f"---\nname: {name}\ndescription: does {name}\n---\n\n{body}\n"
    skill = (await rig.post("/api/skills", {"content": content}))["skill"]
    if files:
        rows = [{"path": path, "content": text} for path, text in files.items()]
        await rig.post(f"/api/skills/{skill['id']}/files", {"files": rows})
    await rig.post(f"/api/skills/{skill['id']}/install", {"agentId": AGENT})
    return str(skill["id"])


async def ran(rig: Rig, text: str = "Say hi") -> dict[str, Any]:
    task_id = await rig.submit(text)
    task = await rig.until_ended(task_id)
    await rig.settled(task_id)
    assert task["status"] == "completed", task
    return dict(task)


def on_disk(rig: Rig, place: str = ".claude/skills") -> dict[str, str]:
    """Return the skills of one harness with their bodies."""
    return {
        path.parent.name: path.read_text()
        for path in (rig.place / "home" / place).glob("*/SKILL.md")
    }


async def test_a_new_skill_is_there_for_the_next_task_and_one_that_is_gone_is_not(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("says_hi", **SYNCED)):
        shipped = set(on_disk(rig))
        assert {"work-on-task", "review-pr", "swarm-chat"} <= shipped
        mine = tmp_path / "home/.codex/skills/mine"
        mine.mkdir()
        (mine / "SKILL.md").write_text("the user's own")
        skill_id = await install(rig, "deploy", **{"ref/how to.md": "like this"})
        await ran(rig)
        for place in skill_folders(known_specs()):
            assert set(on_disk(rig, place)) - {"mine"} == {*shipped, "deploy"}
            notes = tmp_path / "home" / place / "deploy/ref/how to.md"
            assert notes.read_text() == "like this"
        (await rig.api.delete(f"/api/skills/{skill_id}")).raise_for_status()
        await ran(rig)
        assert set(on_disk(rig)) == shipped
        assert on_disk(rig, ".codex/skills")["mine"] == "the user's own"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "{}"),
        (200, "<html>"),
        (200, '{"skills": null}'),
        (200, '{"skills": [7]}'),
        (200, '{"skills": []'),
        (404, "Not Found"),
    ],
)
async def test_a_list_that_fails_leaves_the_disk_as_it_is(tmp_path: Path, status: int, text: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await rig.post("/api/agents", {"name": "tested"}, **{"X-Agent-ID": AGENT})
        await install(rig, "deploy")
        async with running_worker(rig, harness("says_hi", **SYNCED)):
            before = on_disk(rig)
            assert "deploy" in before
            proxy.refuse(f"GET /api/agents/{AGENT}/skills$", status, text)
            await install(rig, "later")
            await ran(rig)
            assert on_disk(rig) == before
            proxy.be_open()
            await ran(rig)
            if status != 404:  # a server without the route is not asked again for a while
                assert set(on_disk(rig)) == {*before, "later"}


async def test_a_server_that_never_answers_about_skills_costs_a_task_one_time_limit(
    tmp_path: Path,
):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = {**harness("says_hi", **SYNCED), "SWARM_API_TIMEOUT_S": "0.5"}
        async with running_worker(rig, env):
            proxy.delay("GET .*/skills/signature", 30)
            before = on_disk(rig)
            await ran(rig)
            assert on_disk(rig) == before
            told = [line.get("state") for line in rig.logged(logs.Event.SKILLS_SYNCED)]
            assert told[-1] == "unchanged"


async def test_what_a_hostile_server_installs_stays_in_its_place(tmp_path: Path):
    front = "---\nname: x\ndescription: x\n---\n"
    rows = [
        {"id": "s1", "name": "../../../x", "content": front},
        {"id": "s2", "name": "/etc/cron.d/x", "content": front},
        {"id": "s3", "name": "huge", "content": front + "x" * 10_000_000},
        {"id": "s4", "name": "plain", "content": "no front matter"},
        {"id": "s5", "name": "files", "content": front, "isComplex": True},
        {"id": "s6", "name": "good", "content": front},
    ]
    files = [{"path": path} for path in ("../../../.bashrc", "C:\\x", "a/../../x", "/abs")]
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.say(f"GET /api/agents/{AGENT}/skills$", {"skills": rows})
        proxy.say("GET /api/skills/s5/files$", {"files": files})
        async with running_worker(rig, harness("says_hi", **SYNCED)):
            assert {"good", "_________x", "_etc_cron_d_x"} <= set(on_disk(rig))
            assert {"huge", "plain", "files"} & set(on_disk(rig)) == set()
            await ran(rig)
        [problems] = [
            line["problems"]
            for line in rig.logged(logs.Event.SKILLS_SYNCED)
            if "problems" in line and line["written"]
        ]
        assert any("larger than" in problem for problem in problems)
        assert any("front matter" in problem for problem in problems)
    outside = [path.name for path in tmp_path.iterdir()]
    assert "x" not in outside
    assert {path.name for path in (tmp_path / "home").iterdir()} == {
        place.split("/")[0] for place in skill_folders(known_specs())
    }


def measured(place: Path, name: str, **env: str) -> dict[str, str]:
    """Return the settings that make ``measures.py`` a harness of this name."""
    command = shlex.join([sys.executable, "-S", "-B", str(AGENTS / "measures.py"), str(place)])
    key = {"ANTHROPIC_API_KEY": "a-key-of-no-use-12345"}
    return {
        "HARNESS_PROVIDER": name,
        "HARNESS_COMMAND": command,
        "CLAUDE_BINARY": command,
        **key,
        **env,
    }


@pytest.mark.parametrize("name", ["subprocess", "claude"])
async def test_prompts_that_are_too_large_for_a_command_line_start_every_harness(
    tmp_path: Path, name: str
):
    file, text = tmp_path / "operator.md", "ü" * 150_000
    file.write_text("é" * 150_000)
    env = measured(tmp_path, name, SYSTEM_PROMPT_FILE=str(file))
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        given = await given_to(rig, await rig.submit(text))
    assert text in given["prompt"]
    assert file.read_text() in given["system"]
    assert given["longest_argument"] < 4096


async def test_a_harness_with_commands_is_given_the_text_of_one_that_is_not_installed(
    tmp_path: Path,
):
    async with swarm_rig(tmp_path) as rig:
        async with running_worker(rig, measured(tmp_path, "claude")):
            first = (await given_to(rig, await rig.submit("Dig")))["prompt"]
        async with running_worker(rig, measured(tmp_path, "claude", **SYNCED)):
            task_id = await rig.submit("Dig on")
            second = (await given_to(rig, task_id))["prompt"]
    assert "# Work on a task" in first
    assert "# Work on a task" not in second
    assert f"/work-on-task {task_id}" in second


@pytest.fixture
def without_commands(monkeypatch):
    """A harness that has the swarm's tools and no commands of its own, as codex."""
    spec = replace(SPEC, capabilities=Capabilities(), skills=Skills(native_discovery=False))
    monkeypatch.setattr(SubprocessAdapter, "spec", spec)


async def given_to(rig: Rig, task_id: str) -> dict[str, Any]:
    task = await rig.until_ended(task_id)
    await rig.settled(task_id)
    assert task["status"] == "completed", task
    return dict(json.loads((rig.place / f"{task_id}.json").read_text()))


async def test_a_harness_without_commands_is_given_the_text_of_the_command(
    tmp_path: Path, without_commands
):
    own = tmp_path / "own" / "work-on-task"
    own.mkdir(parents=True)
    (own / "SKILL.md").write_text("Work as we do here, and always in full.")
    env = harness("witness", tmp_path)
    async with swarm_rig(tmp_path) as rig:
        async with running_worker(rig, env):
            task_id = await rig.submit("Dig")
            shipped = (await given_to(rig, task_id))["prompt"]
        limited = {"SUBPROCESS_SKILLS_DIR": str(tmp_path / "own"), "MAX_SKILL_CHARS": "19"}
        async with running_worker(rig, {**env, **limited}):
            ours = (await given_to(rig, other_id := await rig.submit("Dig on")))["prompt"]
    assert shipped.startswith("---\nname: work-on-task\n")
    assert f"\n\n---\n\nUser request: {task_id}\n" in shipped
    assert ours.startswith(f"Work as we do here,\n\n---\n\nUser request: {other_id}\n")


async def test_a_session_that_is_continued_is_given_it_as_well(
    tmp_path: Path, without_commands, monkeypatch
):
    async def can(*_: object) -> bool:
        return True

    monkeypatch.setattr(SubprocessAdapter, "can_resume", can)
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("witness", tmp_path)):
        first = await rig.submit("Dig")
        await given_to(rig, first)
        second = await rig.submit("Dig on", parentTaskId=first, taskType="follow-up")
        prompt = (await given_to(rig, second))["prompt"]
    assert "Prior Conversation" not in prompt
    assert prompt.startswith("---\nname: work-on-task\n")
    assert f"User request: {second}\n" in prompt
