"""The facts of a task reach the program that works on it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rig import AGENT, Rig, harness, running_worker, swarm_rig

pytestmark = pytest.mark.anyio


async def witnessed(rig: Rig, task_id: str, *, role: str = "worker", **env: str) -> dict[str, Any]:
    """Run a task that waits for its agent; return what the agent was given."""
    async with running_worker(rig, harness("witness", rig.place, **env), role=role):
        task = await rig.until_ended(task_id)
        await rig.settled(task_id)
        assert task["status"] == "completed", task.get("failureReason")
    return dict(json.loads((rig.place / f"{task_id}.json").read_text()))


async def test_the_task_its_requester_and_the_operator(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        user = await rig.post(
            "/api/users", {"name": "Grace", "email": "grace@navy.example", "notes": "likes COBOL"}
        )
        user_id = user["user"]["id"] if "user" in user else user["id"]
        task_id = await rig.submit('Count "words"\nin two lines', requestedByUserId=user_id)
        given = await witnessed(rig, task_id, SYSTEM_PROMPT="The operator insists on tests.")
    assert 'Task: "Count "words"\nin two lines"' in given["prompt"]
    assert "Requested by: Grace <grace@navy.example>" in given["prompt"]
    assert "likes COBOL" in given["system"]
    assert "The operator insists on tests." in given["system"]
    assert AGENT in given["system"]


async def test_attachments_with_hostile_names(tmp_path: Path):
    names = ("plain.txt", "../../etc/passwd", "`touch pwned`; $(id)\n.sh", "-o evil")
    async with swarm_rig(tmp_path) as rig:
        desk = tmp_path / "desk"
        desk.mkdir()
        task_id = await rig.submit("Look at these", dir=str(desk))
        for name in names:
            answer = await rig.api.post(
                f"/api/fs/tasks/{task_id}/files", params={"name": name}, content=name.encode()
            )
            answer.raise_for_status()
        async with running_worker(rig, harness("downloads", tmp_path)):
            task = await rig.until_ended(task_id)
        assert task["output"] == "4 files", task
        found = json.loads((tmp_path / f"{task_id}.json").read_text())
    assert sorted(found["contents"]) == sorted(names)
    assert not [name for name in found["names"] if set(name) & set("`$();/ \n")]
    assert found["beside"] == []


async def test_memories(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        memory = {
            "name": "Flaky database migration",
            "content": "Run the migration twice, the first run creates the lock.",
            "scope": "swarm",
            "source": "manual",
        }
        await rig.post("/api/memory/index", memory)
        task_id = await rig.submit("Run the flaky database migration")
        given = await witnessed(rig, task_id)
    assert "Relevant Past Knowledge" in given["prompt"]
    assert "the first run creates the lock" in given["prompt"]


@pytest.mark.long
async def test_a_follow_up_is_told_of_the_task_before(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        first = await rig.submit("Build the bridge")
        await witnessed(rig, first)
        second = await rig.submit("Paint it", parentTaskId=first, taskType="follow-up")
        given = await witnessed(rig, second)
    assert "## Prior Conversation Context" in given["prompt"]
    assert "Build the bridge" in given["prompt"]
    assert "Outcome:\nseen" in given["prompt"]
    assert 'Task: "Paint it"' in given["prompt"]


@pytest.mark.long
async def test_a_resumed_task_is_told_what_was_done(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        task_id = await rig.submit("Dig the long tunnel")
        async with running_worker(rig, harness("waits", tmp_path / "never"), drain_ms=100):
            await rig.until(lambda: rig.logs(task_id))

        async def resume() -> Any:
            tasks = (await rig.get("/api/tasks", fields="full"))["tasks"]
            return [t for t in tasks if t.get("parentTaskId") == task_id and t.get("output")]

        async with running_worker(rig, harness("witness", tmp_path)):
            (resumed,) = await rig.until(resume)
    given = json.loads((tmp_path / f"{resumed['id']}.json").read_text())
    assert "Resuming Interrupted Task" in given["prompt"]
    assert "Dig the long tunnel" in given["prompt"]


@pytest.mark.long
async def test_where_to_work(tmp_path: Path):
    there = tmp_path / "there"
    there.mkdir()
    async with swarm_rig(tmp_path) as rig:
        at_home = await witnessed(rig, await rig.submit("a"))
        given = await witnessed(rig, await rig.submit("b", dir=str(there)))
        missing = await witnessed(rig, await rig.submit("c", dir="/no/such\ndirectory"))
    assert given["cwd"] == str(there)
    assert f"Working directory: `{there}`" in given["prompt"]
    assert "Working directory:" not in at_home["prompt"]
    assert missing["cwd"] == at_home["cwd"] == str(Path.cwd())
    assert "/no/such" in missing["system"]
    assert "/no/such" not in at_home["system"]


async def test_the_repository_is_cloned(tmp_path: Path):
    origin = make_origin(tmp_path)
    async with swarm_rig(tmp_path) as rig:
        repo = {"url": str(origin), "name": "fruit", "defaultBranch": "trunk"}
        await rig.post("/api/repos", repo)
        task_id = await rig.submit("Pick an apple")
        await belongs_to(rig, task_id, origin)
        given = await witnessed(rig, task_id)
    assert {"apple.txt", "CLAUDE.md", ".git"} <= set(given["files"])
    assert Path(given["cwd"]).is_relative_to(tmp_path / "state")
    assert f"Working directory: `{given['cwd']}`" in given["prompt"]
    assert given["cwd"] in given["system"]


async def belongs_to(rig: Rig, task_id: str, origin: Path) -> None:
    """Tie a task to a repository."""
    link = {"vcsProvider": "gitlab", "vcsRepo": str(origin), "vcsNumber": 1, "vcsUrl": "http://x/"}
    (await rig.api.patch(f"/api/tasks/{task_id}/vcs", json=link)).raise_for_status()


def make_origin(tmp_path: Path) -> Path:
    """Make a bare repository with one commit on the branch ``trunk``."""
    source, origin = tmp_path / "source", tmp_path / "origin" / "fruit.git"
    source.mkdir()
    (source / "apple.txt").write_text("apple")
    (source / "CLAUDE.md").write_text("Peel before eating.")
    for command in (
        ["init", "-q", "-b", "trunk"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "fruit"],
        ["clone", "-q", "--bare", str(source), str(origin)],
    ):
        subprocess.run(["git", "-C", str(source), *command], check=True)
    return origin


async def test_what_was_configured_for_the_harness(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        await rig.post("/api/agents", {"name": "tested"}, **{"X-Agent-ID": AGENT})
        row = {"scope": "global", "key": "FAVOURITE_COLOUR", "value": "mauve"}
        (await rig.api.put("/api/config", json=row)).raise_for_status()
        server = {"name": "files", "transport": "stdio", "command": "mcp-files", "args": '["-v"]'}
        made = await rig.post("/api/mcp-servers", server)
        await rig.post(f"/api/mcp-servers/{made['server']['id']}/install", {"agentId": AGENT})
        task_id = await rig.submit("x", model="m-7")
        given = await witnessed(rig, task_id)
    assert given["env"]["FAVOURITE_COLOUR"] == "mauve"
    assert given["env"]["SWARM_MODEL"] == "m-7"
    assert given["mcp"]["mcpServers"]["files"] == {"command": "mcp-files", "args": ["-v"]}


async def test_commits_are_signed_with_the_identity_the_operator_set(tmp_path: Path):
    origin = make_origin(tmp_path)
    script = (
        "import pathlib, subprocess, sys; sys.stdin.read()\n"
        "assert pathlib.Path('apple.txt').exists()\n"
        "subprocess.run(['git', 'config', 'user.name', 'drifted'], check=True)\n"
        "subprocess.run(['git', 'commit', '-q', '--allow-empty', '-m', 'x'], check=True)\n"
        "print(subprocess.run(['git', 'log', '-1', '--format=%an %ae %cn %ce'], check=True,"
        " capture_output=True, text=True).stdout)\n"
    )
    async with swarm_rig(tmp_path) as rig:
        await rig.post(
            "/api/repos", {"url": str(origin), "name": "fruit", "defaultBranch": "trunk"}
        )
        task_id = await rig.submit("Pick an apple")
        await belongs_to(rig, task_id, origin)
        env = {"GITHUB_NAME": "Agent Ada", "GITHUB_EMAIL": "ada@x.org", "GIT_COMMITTER_NAME": "Bot"}
        async with running_worker(rig, {**rig.agent(script), **env}):
            task = await rig.until_ended(task_id)
    assert task["output"].strip() == "Agent Ada ada@x.org Bot ada@x.org", task


async def test_a_missing_directory_is_told_although_there_is_a_clone(tmp_path: Path):
    origin = make_origin(tmp_path)
    async with swarm_rig(tmp_path) as rig:
        await rig.post(
            "/api/repos", {"url": str(origin), "name": "fruit", "defaultBranch": "trunk"}
        )
        task_id = await rig.submit("Pick an apple", dir="/no/such/place")
        await belongs_to(rig, task_id, origin)
        given = await witnessed(rig, task_id)
    assert "asks for the directory `/no/such/place`" in given["system"]
    assert f"You work in `{given['cwd']}` instead" in given["system"]
    assert "(the clone of the task's repository)" in given["prompt"]
    assert "apple.txt" in given["files"]


@pytest.mark.long
async def test_a_lead_is_told_what_is_under_way(tmp_path: Path):
    """Else its second session delegates what the first one has delegated."""
    other = "0a9e0000-0000-4000-8000-000000000002"
    async with swarm_rig(tmp_path) as rig:
        for agent, name in ((AGENT, "tested"), (other, "builder")):
            await rig.post("/api/agents", {"name": name}, **{"X-Agent-ID": agent})
        delegated = {"task": "Paint the\nbridge " + "x" * 500, "agentId": other}
        bridge = await rig.post("/api/tasks", delegated, **{"X-Agent-ID": AGENT})
        task_id = await rig.submit("Plan the week")
        given = await witnessed(rig, task_id, role="lead")
        section = given["prompt"].partition("### Concurrent Work")[2]
        assert f"- {bridge['id']}: Paint the bridge xxx" in section
        assert "(pending, builder)" in section
        assert "x" * 150 not in section
        assert f"- {task_id}" not in section
        given = await witnessed(rig, await rig.submit("Plan the day"))
        assert "### Concurrent Work" not in given["prompt"]
