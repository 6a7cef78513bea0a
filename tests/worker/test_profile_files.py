"""The agent's profile files: written at boot, edited by the agent, uploaded."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from recording_proxy import proxy_rig
from rig import AGENT, AGENTS, Rig, running_worker, swarm_rig

from agent_swarm_worker import logs

pytestmark = pytest.mark.anyio

OTHER_AGENT = "0a9e0000-0000-4000-8000-000000000002"


def desk(rig: Rig, name: str = "subprocess") -> dict[str, str]:
    """Return the settings of a worker with a workspace and an agent that edits its profile."""
    workspace = rig.place / "workspace"
    workspace.mkdir(exist_ok=True)
    command = shlex.join(
        [sys.executable, "-S", "-B", str(AGENTS / "edits_profile.py"), str(rig.place)]
    )
    return {
        "HARNESS_PROVIDER": name,
        "HARNESS_COMMAND": command,
        "CLAUDE_BINARY": command,
        "ANTHROPIC_API_KEY": "a-key-of-no-use-12345",
        "SWARM_WORKSPACE_DIR": str(workspace),
    }


async def prompt_of(rig: Rig, text: str) -> str:
    """Have a task done; return the prompt its agent was given."""
    task_id = await rig.submit(text)
    task = await rig.until_ended(task_id)
    await rig.settled(task_id)
    assert task["status"] == "completed", task.get("failureReason")
    return (rig.place / f"{task_id}.prompt").read_text()


async def profile(rig: Rig, agent: str = AGENT) -> dict[str, Any]:
    answer = await rig.api.get("/me", headers={"X-Agent-ID": agent})
    return dict(answer.json())


async def until_stored(rig: Rig, field: str, chars: int) -> None:
    async def look() -> bool:
        return len((await profile(rig)).get(field) or "") == chars

    await rig.until(look)


async def put(rig: Rig, **fields: str) -> None:
    answer = await rig.api.put(f"/api/agents/{AGENT}/profile", json=fields)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", ["subprocess", "claude"])
async def test_an_edit_of_the_agent_is_stored_when_its_session_ends_whatever_the_harness(
    tmp_path: Path, name: str
):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, desk(rig, name)):
        await prompt_of(rig, "fill SOUL.md 700, fill IDENTITY.md 499")
        await until_stored(rig, "soulMd", 700)
        assert "IDENTITY.md: tested" in (await profile(rig))["identityMd"]


@pytest.mark.long
async def test_a_field_over_its_budget_is_told_in_the_next_prompts_until_it_is_settled(
    tmp_path: Path,
):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, desk(rig)):
        assert "was not saved" not in await prompt_of(rig, "fill SOUL.md 12000, fill TOOLS.md 50")
        await until_stored(rig, "toolsMd", 50)
        told = await prompt_of(rig, "look around")
        assert "Your SOUL.md was not saved" in told
        assert "12000 characters, 2000 more than the 10000" in told
        assert "Your SOUL.md was not saved" in await prompt_of(rig, "fill SOUL.md 900")
        await until_stored(rig, "soulMd", 900)
        assert "was not saved" not in await prompt_of(rig, "look around again")


@pytest.mark.long
async def test_an_edit_of_the_lead_survives_sessions_and_restarts(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = desk(rig)
        async with running_worker(rig, env):
            await put(rig, soulMd="the lead's words", toolsMd="the lead's tools")
            await prompt_of(rig, "look around")
        async with running_worker(rig, env):
            await prompt_of(rig, "look around")
        now = await profile(rig)
    assert (now["soulMd"], now["toolsMd"]) == ("the lead's words", "the lead's tools")
    workspace = tmp_path / "workspace"
    assert (workspace / "SOUL.md").read_text() == "the lead's words"
    [backup] = workspace.glob("SOUL.md.pre-boot-*.bak")
    assert "SOUL.md: tested" in backup.read_text()


async def test_an_edit_whose_session_the_worker_did_not_outlive_is_stored_at_the_next_boot(
    tmp_path: Path,
):
    async with swarm_rig(tmp_path) as rig:
        env = desk(rig)
        async with running_worker(rig, env):
            await prompt_of(rig, "look around")
        (tmp_path / "workspace" / "SOUL.md").write_text("y" * 800)
        async with running_worker(rig, env):
            await until_stored(rig, "soulMd", 800)
    assert (tmp_path / "workspace" / "SOUL.md").read_text() == "y" * 800
    assert list((tmp_path / "workspace").glob("*.bak")) == []


@pytest.mark.long
async def test_a_second_agent_in_the_same_workspace_does_not_take_over_the_firsts_profile(
    tmp_path: Path,
):
    async with swarm_rig(tmp_path) as rig:
        env = desk(rig)
        async with running_worker(rig, env):
            await put(rig, soulMd="first " * 200)
            await prompt_of(rig, "fill SOUL.md 700")
            second = {**env, "AGENT_ID": OTHER_AGENT, "AGENT_NAME": "second"}
            async with running_worker(rig, second):
                body = {"task": "look around", "agentId": OTHER_AGENT}
                task_id = (await rig.post("/api/tasks", body))["id"]
                await rig.until_ended(task_id)
                await rig.settled(task_id)
            assert "SOUL.md: second" in (await profile(rig, OTHER_AGENT))["soulMd"]
            assert len((tmp_path / "workspace" / "SOUL.md").read_text()) == 700
        assert any(
            line.get("state") == "another worker's" for line in rig.logged(logs.Event.IDENTITY)
        )


async def test_the_profile_of_another_agent_is_written_nowhere(tmp_path: Path):
    """As when something between here and the server mixes up its answers."""
    theirs = {"id": OTHER_AGENT, "name": "other", "soulMd": "other " * 200}
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("GET /me", 200, json.dumps(theirs), times=99)
        async with running_worker(rig, desk(rig)):
            assert "other other" not in await prompt_of(rig, "look around")
            assert rig.logged(logs.Event.IDENTITY)[0]["agent"] == OTHER_AGENT
    assert list((tmp_path / "workspace").glob("*.md")) == []


async def test_left_over_files_are_not_stored_where_the_profile_is_not_known(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = desk(rig)
        (tmp_path / "workspace" / "SOUL.md").write_text("left over " * 100)
        proxy.refuse("GET /me", 500)
        async with running_worker(rig, env):
            await prompt_of(rig, "fill TOOLS.md 70")
        changes = proxy.seen("PUT /api/agents/.*/profile")
        assert [change for change in changes if b"session_sync" in change.body] == []
