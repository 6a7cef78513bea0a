"""``swarm-worker harness-profiles``: what it lists, explains and finds wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent_swarm_worker.cli.app import main

Capture = pytest.CaptureFixture[str]
TEXT = """
include = ["team.toml"]
[claude.plan]
extends = "claude:base"
effort = "high"
command = "my-claude --x"
env = {DEPLOY_TOKEN = "abcdef123456", MARK = "seen abcdef123456"}
mcp = ["fetch"]
[claude.env]
env = {CLAUDE_QUEUE_STEERING = "on"}
"""
TEAM = '[claude.base]\nmodel = "opus"\ntools = ["deploy"]\noptions = {telemetry = true}'


@pytest.fixture
def file(env: dict[str, str], tmp_path: Path) -> Path:
    path = tmp_path / "profiles.toml"
    path.write_text(TEXT)
    (tmp_path / "team.toml").write_text(TEAM)
    env["SWARM_HARNESS_PROFILES"] = str(path)
    return path


def printed(capsys: Capture, *words: str, code: int = 0) -> str:
    assert main(["harness-profiles", *words]) == code
    said = capsys.readouterr()
    assert not said.err
    return said.out


def explained(capsys: Capture, name: str) -> dict[str, tuple[Any, str]]:
    found = json.loads(printed(capsys, "explain", name, "--json"))
    return {row["key"]: (row["value"], row["from"]) for row in found["settings"]}


def test_the_list(file: Path, env: dict[str, str], capsys: Capture):
    env |= {"HARNESS_PROFILE": "claude:PLAN", "HARNESS_PROFILE_TASK_CHOICES": "base"}
    rows = {row["name"]: row for row in json.loads(printed(capsys, "--json"))}
    assert rows["claude:plan"] == {
        "name": "claude:plan",
        "used_by": "worker",
        "model": "opus",
        "effort": "high",
        "permissions": None,
        "sandbox": "local",
        "mcp": ["fetch"],
        "tools": ["deploy"],
        "files": [str(file), str(file.with_name("team.toml"))],
    }
    assert {name for name in rows if name.startswith("claude:")} == {
        *("claude:base", "claude:default", "claude:env", "claude:plan")
    }
    assert (rows["claude:base"]["used_by"], rows["pi:default"]["used_by"]) == ("tasks", "")
    lines = printed(capsys).splitlines()
    assert lines[0].split() == ["NAME", "USED", "BY", "MODEL", "EFFORT", "PERMISSIONS", "FROM"]
    assert len(lines) == len(rows) + 1
    assert printed(capsys, "list") == printed(capsys)


def test_each_value_is_explained(file: Path, env: dict[str, str], capsys: Capture):
    env |= {"CLAUDE_BINARY": "other", "CLAUDE_QUEUE_STEERING": "off", "SWARM_SETUP_COMMAND": "up"}
    found = explained(capsys, "Claude:Plan")
    team, base = file.with_name("team.toml"), "(included by profiles.toml, extends claude:base)"
    assert found["model"] == ("opus", f"{team}: claude.base.model {base}")
    assert found["effort"] == ("high", f"{file}: claude.plan.effort")
    assert found["options.program"] == ("my-claude --x", "command of this profile")
    assert found["options.telemetry"] == (True, f"{team}: claude.base.options.telemetry {base}")
    assert found["options.queue_steering"] == ("off", "environment: CLAUDE_QUEUE_STEERING")
    assert found["setup"] == ("up", "environment: SWARM_SETUP_COMMAND")
    assert found["sandbox"] == ("local", "default")
    assert found["permissions.policy"] == ("bypass", "default")
    assert found["mcp.fetch"] == ("uvx mcp-server-fetch (needs uvx)", "shipped")
    assert found["tools"][0] == ["deploy"]
    other = explained(capsys, "claude:env")["options.queue_steering"]
    assert other == ("on", "env.CLAUDE_QUEUE_STEERING of this profile")
    table = printed(capsys, "explain", "claude:plan").splitlines()
    assert table[0] == "claude:plan"
    assert table[1].split() == ["KEY", "FROM", "VALUE"]


def test_no_secret_is_shown(file: Path, env: dict[str, str], capsys: Capture):
    env["ANTHROPIC_API_KEY"] = "sk-ant-0123456789abcdef"
    for words in (("--json",), ()):
        said = printed(capsys, "explain", "claude:plan", *words)
        assert "abcdef" not in said
        assert said.count("(secret)") == 2
        assert "seen [REDACTED:DEPLOY_TOKEN]" in said


def test_files_without_mistakes(file: Path, env: dict[str, str], capsys: Capture):
    assert printed(capsys, "validate") == f"{file}: 21 harness profiles, no mistakes\n"
    assert json.loads(printed(capsys, "validate", "--json")) == {"file": str(file), "problems": []}
    del env["SWARM_HARNESS_PROFILES"]
    assert "is not set" in printed(capsys, "validate")


def test_each_mistake_is_a_line(file: Path, env: dict[str, str], capsys: Capture):
    team = file.with_name("team.toml")
    team.write_text("[claude.base]\nmodel = 1\n[codex.x]\nmodle = 'x'")
    lines = printed(capsys, "validate", str(file), code=78).splitlines()
    assert lines[0] == f"{team}: claude.base.model: expected text, found a whole number"
    assert lines[1].startswith(f"{team}: codex.x.modle: unknown key (did you mean 'model'?)")
    assert len(lines) == 2
    found = json.loads(printed(capsys, "validate", "--json", code=78))
    assert found["problems"] == lines
    gone = str(file.with_name("gone.toml"))
    said = printed(capsys, "validate", gone, code=78)
    assert said == f"{gone}: No such file or directory\n"
    for words in ((), ("explain", "claude:plan")):
        assert main(["harness-profiles", *words]) == 78
        said_ = capsys.readouterr().err
        assert "claude.base.model" in said_
        assert "(and 1 more)" in said_


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"HARNESS_PROFILE": "claude:plam"}, "did you mean 'plan'?"),
        ({"HARNESS_PROFILE": "claude:plan", "HARNESS_PROVIDER": "codex"}, "HARNESS_PROVIDER is"),
        ({"HARNESS_PROFILE_TASK_CHOICES": "claude:plan,claude:gone"}, "no variant 'gone'"),
        ({"HARNESS_PROFILE": "claude:plan", "HARNESS_PROFILE_TASK_CHOICES": "go"}, "variant 'go'"),
    ],
)
def test_names_that_mean_nothing(
    file: Path, env: dict[str, str], capsys: Capture, variables: dict[str, str], why: str
):
    env |= variables
    (line,) = printed(capsys, "validate", code=78).splitlines()
    assert why in line


@pytest.mark.parametrize(
    "words", [("explain",), ("list", "x"), ("other",), ("explain", "claude:gone")]
)
def test_wrong_use(file: Path, capsys: Capture, words: tuple[str, ...]):
    assert main(["harness-profiles", *words]) == 2
    assert capsys.readouterr().err.startswith("swarm-worker: ")
    assert main(["harness-profiles"]) == 0


def test_an_unknown_harness_is_no_bug(file: Path, env: dict[str, str], capsys: Capture):
    env["HARNESS_PROVIDER"] = "nothing"
    assert "claude:plan" in printed(capsys)
