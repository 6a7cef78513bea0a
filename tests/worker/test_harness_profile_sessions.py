"""Harness profiles in a worker: what reaches the harness, and what a task may choose."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, running_worker, swarm_rig
from worker_process import worker_process

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

AGENT = """
import json, os, pathlib, sys
prompt = sys.stdin.read()
mcp = json.loads(pathlib.Path(os.environ["SWARM_MCP_CONFIG"]).read_text())["mcpServers"]
names = ("SWARM_MODEL", "MARK", "HARNESS_OUTPUT", "REASONING_EFFORT_OVERRIDE")
said = {"args": sys.argv[1:], "env": {name: os.environ.get(name) for name in names},
        "end": prompt.rstrip().splitlines()[-1], "mcp": mcp}
pathlib.Path(os.environ["PLACE"], os.environ["AGENT_SWARM_TASK_ID"]).write_text(json.dumps(said))
print(json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": "done"}))
"""


def environment(rig: Rig, text: str, **env: str) -> dict[str, str]:
    """Return the environment of a worker with this file of harness profiles."""
    path = rig.place / "profiles.toml"
    path.write_text(text)
    return {**rig.agent(AGENT), "PLACE": str(rig.place), "SWARM_HARNESS_PROFILES": str(path), **env}


async def ended(rig: Rig, **task: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a task; return its row, and what its session was given."""
    task_id = await rig.submit(**task)
    row = await rig.until_ended(task_id)
    await rig.settled(task_id)
    seen = rig.place / task_id
    return row, json.loads(seen.read_text()) if seen.exists() else {}


def first_records(rig: Rig) -> list[dict[str, Any]]:
    paths = sorted(rig.place.glob("state/**/logs/**/*.jsonl"), key=os.path.getmtime)
    return [json.loads(path.read_text().splitlines()[0]) for path in paths]


async def test_a_profile_reaches_the_harness(tmp_path: Path) -> None:
    text = f"""
    [subprocess.deep]
    model = "big"
    effort = "high"
    args = ["--think", "hard"]
    options = {{output = "stream-json"}}
    append_prompt = "Only plan."
    env = {{MARK = "own"}}
    setup = "touch '{tmp_path}/was-set-up'"
    cleanup = "touch '{tmp_path}/was-cleaned-up'"
    """
    async with swarm_rig(tmp_path) as rig:
        env = environment(rig, text, HARNESS_PROFILE="Subprocess:DEEP", MARK="", MODEL_OVERRIDE="x")
        del env["HARNESS_PROVIDER"]
        async with running_worker(rig, env):
            row, seen = await ended(rig)
            assert row["status"] == "completed", row
            _, chosen = await ended(rig, model="mine")
    assert seen["args"] == ["--think", "hard"]
    assert seen["end"] == "Only plan."
    assert seen["env"] == {
        "SWARM_MODEL": "big",
        "MARK": "own",
        "HARNESS_OUTPUT": "stream-json",
        "REASONING_EFFORT_OVERRIDE": "high",
    }
    assert chosen["env"]["SWARM_MODEL"] == "mine"
    assert (tmp_path / "was-set-up").exists()
    assert (tmp_path / "was-cleaned-up").exists()
    assert first_records(rig)[0]["harnessProfile"] == "subprocess:deep"
    assert rig.logged(Event.TASK_STARTED)[0]["profile"] == "subprocess:deep"


async def test_the_default_applies_if_none_is_chosen(tmp_path: Path) -> None:
    async with swarm_rig(tmp_path) as rig:
        env = environment(rig, '[subprocess.default]\nenv = {MARK = "default"}')
        async with running_worker(rig, env):
            _, seen = await ended(rig)
    assert seen["env"]["MARK"] == "default"
    assert first_records(rig)[0]["harnessProfile"] == "subprocess:default"


async def test_the_file_is_read_for_each_session_and_a_broken_edit_fails_none(
    tmp_path: Path,
) -> None:
    async with swarm_rig(tmp_path) as rig:
        env = environment(rig, '[subprocess.x]\nmodel = "one"', HARNESS_PROFILE="subprocess:x")
        async with running_worker(rig, env):
            marks = [(await ended(rig))[1]["env"]["SWARM_MODEL"]]
            for text in ('[subprocess.x]\nmodel = "two"', "[subprocess.x]\nmodel = 3", ""):
                (tmp_path / "profiles.toml").write_text(text)
                marks.append((await ended(rig))[1]["env"]["SWARM_MODEL"])
            (tmp_path / "profiles.toml").unlink()
            marks.append((await ended(rig))[1]["env"]["SWARM_MODEL"])
            (tmp_path / "profiles.toml").write_text('[subprocess.x]\nmodel = "five"')
            marks.append((await ended(rig))[1]["env"]["SWARM_MODEL"])
    assert marks == ["one", "two", "two", "two", "two", "five"]
    said = [line["why"] for line in rig.logged(Event.HARNESS_PROFILE)]
    assert len(said) == 3
    assert "subprocess.x.model: expected text, found a whole number" in said[0]
    assert "subprocess has no variant 'x'" in said[1]
    assert "No such file" in said[2]


# --- a task's choice
CHOICES = """
[subprocess.default]
env = {MARK = "default"}
[subprocess.fast]
model = "small"
[subprocess.secret]
model = "dear"
[codex.x]
"""


async def test_a_task_chooses_among_the_operators_choices(tmp_path: Path) -> None:
    async with swarm_rig(tmp_path) as rig:
        env = environment(rig, CHOICES, HARNESS_PROFILE_TASK_CHOICES="FAST,codex:x,gone")
        async with running_worker(rig, env):
            _, fast = await ended(rig, tags=["x", "Profile: Fast"])
            row, secret = await ended(rig, tags=["profile:secret", "profile:no such"])
            lines = [it for it in await rig.lines(row["id"]) if it["type"] == "worker_session_end"]
            _, none = await ended(rig, tags=["profile:", "profile", "profiles:fast"])
            _, own = await ended(rig, tags=["profile:fast", "profile:subprocess:default"])
            other, unseen = await ended(rig, tags=["profile:codex:x"])
            gone, _ = await ended(rig, tags=["profile:gone"])
    assert (fast["env"]["SWARM_MODEL"], fast["env"]["MARK"]) == ("small", None)
    assert row["status"] == "completed"
    assert secret["env"]["MARK"] == none["env"]["MARK"] == own["env"]["MARK"] == "default"
    notes = lines[0]["notes"]
    assert notes == [
        f"The tag {tag!r} was ignored: HARNESS_PROFILE_TASK_CHOICES does not name this profile"
        for tag in ("profile:secret", "profile:no such")
    ]
    assert [line["why"] for line in rig.logged(Event.HARNESS_PROFILE)] == notes
    assert (other["status"], unseen) == ("failed", {})
    assert "this worker runs subprocess" in other["failureReason"]
    assert "subprocess has no variant 'gone'" in gone["failureReason"]


async def test_without_choices_no_tag_counts(tmp_path: Path) -> None:
    async with swarm_rig(tmp_path) as rig, running_worker(rig, environment(rig, CHOICES)):
        row, seen = await ended(rig, tags=["profile:fast"])
    assert (row["status"], seen["env"]["MARK"]) == ("completed", "default")


async def test_no_configuration_row_chooses(tmp_path: Path) -> None:
    async with swarm_rig(tmp_path) as rig:
        for key, value in (
            ("HARNESS_PROFILE", "subprocess:secret"),
            ("HARNESS_PROFILE_TASK_CHOICES", "secret"),
            ("SWARM_HARNESS_PROFILES", "/dev/null"),
        ):
            answer = await rig.api.put(
                "/api/config", json={"scope": "global", "key": key, "value": value}
            )
            assert answer.status_code < 500
        async with running_worker(rig, environment(rig, CHOICES)):
            _, seen = await ended(rig, tags=["profile:secret"])
    assert seen["env"]["MARK"] == "default"


async def test_a_row_cannot_choose_another_harness_than_the_profile(tmp_path: Path) -> None:
    async with swarm_rig(tmp_path) as rig:
        await rig.set_row("HARNESS_PROVIDER", "codex")
        env = environment(rig, CHOICES, HARNESS_PROFILE="subprocess:secret")
        async with running_worker(rig, env):
            _, seen = await ended(rig)
        ignored = [it for it in rig.logged(Event.CONFIG_IGNORED) if it["key"] == "HARNESS_PROVIDER"]
    assert seen["env"]["SWARM_MODEL"] == "dear"
    assert len(ignored) == 1
    assert "HARNESS_PROVIDER is 'codex'" in ignored[0]["why"]


# --- the catalogue of tool servers
SERVERS = """
[subprocess.default]
mcp = ["remote", "tool", "gone", "keyless"]
env = {HOST = "example.test"}
[mcp.remote]
url = "https://${HOST}/mcp"
headers = {Authorization = "Bearer ${REMOTE_TOKEN}"}
[mcp.tool]
command = "sh -c"
args = ["${HOST}"]
env = {KEY = "${REMOTE_TOKEN}"}
[mcp.gone]
command = "no-such-program"
[mcp.keyless]
url = "https://x/${NO_SUCH_KEY}"
needs = {variables = ["OTHER_KEY"], programs = ["no-such-helper"]}
"""
TOKEN = "s3cretTokenOfTheRemoteServer42"


async def test_servers_of_the_catalogue_join_a_session(tmp_path: Path) -> None:
    async with swarm_rig(tmp_path) as rig:
        env = environment(rig, SERVERS, REMOTE_TOKEN=TOKEN)
        async with running_worker(rig, env):
            row, seen = await ended(rig)
    assert row["status"] == "completed"
    servers = seen["mcp"]
    assert list(servers) == ["agent-swarm", "remote", "tool"]
    assert servers["remote"]["url"] == "https://example.test/mcp"
    assert servers["remote"]["headers"] == {"Authorization": f"Bearer {TOKEN}"}
    assert servers["tool"]["command"] == "sh"
    assert servers["tool"]["args"] == ["-c", "example.test"]
    assert servers["tool"]["env"] == {"KEY": TOKEN}
    left_out = {line["server"]: line["why"] for line in rig.logged(Event.MCP_CONFIG)}
    assert left_out == {
        "gone": "left out: it needs the program no-such-program",
        "keyless": "left out: it needs the variable OTHER_KEY and the variable NO_SUCH_KEY and "
        "the program no-such-helper",
    }


async def test_a_required_server_that_lacks_something_fails_the_task(tmp_path: Path) -> None:
    text = '[subprocess.default]\nmcp=["x"]\n[mcp.x]\nurl = "u${TOKEN_X}"\nrequired = true'
    async with swarm_rig(tmp_path) as rig, running_worker(rig, environment(rig, text)):
        row, seen = await ended(rig)
    assert (row["status"], seen) == ("failed", {})
    assert "it needs the variable TOKEN_X" in row["failureReason"]


# --- a process
@pytest.mark.parametrize(
    ("text", "env", "why"),
    [
        (
            "[subprocess.x]\nmodel = 5",
            {},
            "subprocess.x.model: expected text, found a whole number",
        ),
        ("", {"HARNESS_PROFILE": "subprocess:x"}, "subprocess has no variant 'x'"),
        ("", {"HARNESS_PROFILE": "claude:x"}, "HARNESS_PROVIDER is 'subprocess'"),
        ("", {"HARNESS_PROFILE_TASK_CHOICES": "x:y"}, "unknown harness 'x'"),
    ],
)
async def test_a_worker_does_not_start_with_what_it_cannot_use(
    tmp_path: Path, text: str, env: dict[str, str], why: str
) -> None:
    async with swarm_rig(tmp_path) as rig:
        given = {**rig.env, **environment(rig, text, **env)}
        async with worker_process(tmp_path, given) as worker:
            assert await worker.exit_code() == 78
        assert why in " ".join(worker.lines())


async def test_after_a_kill_a_session_is_read_as_its_profile_says(tmp_path: Path) -> None:
    """Its output looks like a result, and its profile says that it is text."""
    event = {"type": "result", "subtype": "success", "is_error": False, "result": "done"}
    script = f"import time; print({json.dumps(event)!r}, flush=True); time.sleep(1000)"
    text = '[subprocess.x.options]\noutput = "text"'
    async with swarm_rig(tmp_path) as rig:
        env = environment(rig, text, HARNESS_PROFILE="subprocess:x") | rig.agent(script)
        async with worker_process(tmp_path, {**rig.env, **env}):
            task_id = await rig.submit()

            async def has_said() -> bool:
                return bool(await rig.logs(task_id))

            await rig.until(has_said)
        # Its profile is not the worker's own any more.
        other = {**env, "HARNESS_PROFILE": "subprocess:default"}
        async with worker_process(tmp_path, {**rig.env, **other}):
            row = await rig.until_ended(task_id)
    assert row["status"] == "superseded", row
