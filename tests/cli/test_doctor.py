"""``swarm-worker doctor`` and ``providers``: their findings."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_rig import KEY, Answer, bare_env, call, harness_env, local_swarm, scripted_api
from jsonschema import Draft202012Validator

from agent_swarm_worker.cli import doctor
from agent_swarm_worker.cli.app import main
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.providers.registry import spec_of, supported_providers
from agent_swarm_worker.state.directory import StateDir
from agent_swarm_worker.worker.boot import availability

Capture = pytest.CaptureFixture[str]
NOWHERE = "http://127.0.0.1:9"
AGENT = "0a9e0000-0000-4000-8000-000000000001"


def healthy(request: str) -> Answer:
    if request == "GET /health":
        return 200, {"status": "ok", "version": "1.135.0"}
    return (200, {"tasks": []}) if request == "GET /api/tasks" else (404, "Not Found")


@pytest.fixture
def good(env: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with which everything is all right."""
    with scripted_api(healthy) as url:
        env.update(harness_env(), MCP_BASE_URL=url, API_KEY=KEY, AGENT_ID=AGENT)
        env["SWARM_STATE_DIR"] = str(tmp_path / "state")
        yield env


def findings(capsys: Capture, code: int) -> dict[str, dict[str, Any]]:
    assert main(["doctor", "--json"]) == code
    said = capsys.readouterr()
    assert not said.err
    return {finding["check"]: finding for finding in json.loads(said.out)}


def test_all_is_well(good: dict[str, str], capsys: Capture):
    found = findings(capsys, 0)
    assert "version 1.135.0" in found["API"]["detail"]
    for check in ("swarm-worker", "settings", "harness", "API", "API key", "state", "disk", "git"):
        assert found[check]["state"] == "ok", found[check]
    assert main(["doctor"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == len(found) + 1
    assert "✘" not in said.out


def test_looking_changes_nothing(good: dict[str, str], tmp_path: Path, capsys: Capture):
    findings(capsys, 0)
    assert not (tmp_path / "state").exists()
    del good["AGENT_ID"]
    findings(capsys, 0)
    assert not (tmp_path / "state").exists()
    # Nor is anything taken away that was there before.
    with StateDir.open(tmp_path / "state", AGENT, clock=SystemClock()) as state:
        state.note("kept", "yes")
    findings(capsys, 0)
    good["AGENT_ID"] = AGENT
    findings(capsys, 0)
    with StateDir.open(tmp_path / "state", AGENT, clock=SystemClock()) as state:
        assert state.noted("kept") == "yes"
    assert [path.name for path in (tmp_path / "state").iterdir()] == [AGENT]


@pytest.mark.parametrize(
    ("folder", "state"), [("logs", "ok"), ("a/b", "ok"), ("file", "fail"), ("file/logs", "fail")]
)
def test_the_directory_of_logs(
    good: dict[str, str], tmp_path: Path, capsys: Capture, folder: str, state: str
):
    (tmp_path / "file").touch()
    good["LOG_DIR"] = str(tmp_path / folder)
    assert findings(capsys, 1 if state == "fail" else 0)["LOG_DIR"]["state"] == state
    assert sorted(path.name for path in tmp_path.iterdir() if path.name in "logs a") == []


def test_an_empty_state_directory_stays(good: dict[str, str], tmp_path: Path, capsys: Capture):
    (tmp_path / "state").mkdir()
    findings(capsys, 0)
    assert list((tmp_path / "state").iterdir()) == []


def test_no_api(good: dict[str, str], capsys: Capture):
    good["MCP_BASE_URL"] = NOWHERE
    found = findings(capsys, 1)
    assert found["API"]["state"] == "fail"
    assert NOWHERE in found["API"]["detail"]
    assert "API key" not in found
    assert found["disk"]["state"] == "ok"


@pytest.mark.parametrize(
    ("name", "value"), [("MCP_BASE_URL", "not a url"), ("API_KEY", "two\nlines")]
)
def test_an_address_or_key_that_is_none(
    good: dict[str, str], capsys: Capture, name: str, value: str
):
    good[name] = value
    found = findings(capsys, 1)
    assert found["API"]["state"] == "fail"
    assert name in found["API"]["detail"]
    assert found["state"]["state"] == "ok"


@pytest.mark.long
def test_a_wrong_key(tmp_path: Path):
    with local_swarm(tmp_path) as (url, _, _):
        env = bare_env(tmp_path, **harness_env(), MCP_BASE_URL=url, API_KEY="wrong-key-987654")
        code, said, errors = call("doctor", env=env)
    assert (code, errors) == (1, "")
    assert "✔  API  " in said
    assert "✘  API key       the API refuses it" in said
    assert "wrong-key" not in said


def test_something_else_that_answers(good: dict[str, str], capsys: Capture):
    with scripted_api(lambda _: (200, "<html>hotel</html>")) as url:
        good["MCP_BASE_URL"] = url
        assert findings(capsys, 1)["API"]["state"] == "fail"


def test_a_server_that_lists_no_tasks(good: dict[str, str], capsys: Capture):
    with scripted_api(lambda r: healthy(r) if r == "GET /health" else (500, {})) as url:
        good["MCP_BASE_URL"] = url
        assert findings(capsys, 0)["API key"]["state"] == "warn"


def test_settings_of_all_parts_are_checked(good: dict[str, str], tmp_path: Path, capsys: Capture):
    file = tmp_path / "repositories.yaml"
    file.write_text("a/b: {steup: make}")
    for name, value in {
        "SWARM_UNCOMMITTED": "stash",
        "SWARM_GIT_PROTOCOLS": "ext",
        "CODEX_OAUTH_ISSUER": "http://plain.example",
        "SWARM_REPOSITORIES_FILE": str(file),
    }.items():
        good[name] = value
        finding = findings(capsys, 1)["settings"]
        assert finding["state"] == "fail"
        assert name in finding["detail"]
        del good[name]


def test_a_setting_that_cannot_be_used(good: dict[str, str], capsys: Capture):
    good["SHUTDOWN_TIMEOUT"] = "soon"
    found = findings(capsys, 1)
    assert found["settings"]["state"] == "fail"
    assert "SHUTDOWN_TIMEOUT='soon'" in found["settings"]["detail"]


@pytest.mark.parametrize(
    ("provider", "why"),
    [
        ("nonesuch", "Supported: "),
        ("claude", "claude"),
        ("subprocess", "HARNESS_COMMAND"),
    ],
)
def test_a_harness_that_could_not_start(
    good: dict[str, str], capsys: Capture, provider: str, why: str
):
    good["HARNESS_PROVIDER"] = provider
    del good["HARNESS_COMMAND"]
    found = findings(capsys, 1)["harness"]
    assert found["state"] == "fail"
    assert why in found["detail"]
    assert ", ".join(supported_providers()) in found["advice"]


def test_a_state_directory_that_a_worker_uses(
    good: dict[str, str], tmp_path: Path, capsys: Capture
):
    with StateDir.open(tmp_path / "state", AGENT, clock=SystemClock()) as state:
        found = findings(capsys, 0)
        assert (state.path / "worker.sqlite").exists()
    assert found["state"]["state"] == "warn"
    assert "in use by process" in found["state"]["detail"]
    assert found["disk"]["state"] == "ok"


def test_a_state_directory_that_cannot_be_written(
    good: dict[str, str], tmp_path: Path, capsys: Capture
):
    (tmp_path / "state").write_text("a file in its place")
    found = findings(capsys, 1)
    assert found["state"]["state"] == "fail"
    assert "SWARM_STATE_DIR" in found["state"]["advice"]


@pytest.mark.parametrize(("room_bytes", "state"), [(-1, "warn"), (0, "ok")])
def test_a_disk_that_is_nearly_full(
    good: dict[str, str],
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    room_bytes: int,
    state: str,
):
    free = SimpleNamespace(free=doctor.LOW_DISK_BYTES + room_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    found = findings(capsys, 0)["disk"]
    assert found["state"] == state
    assert found["detail"] == ("500 MiB free" if state == "ok" else "499 MiB free")
    assert bool(found["advice"]) == (state == "warn")


def test_programs_that_are_not_installed(
    good: dict[str, str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "which", lambda name, **_: None if name in {"git", "gh"} else name)
    found = findings(capsys, 0)
    assert (found["git"]["state"], found["gh"]["state"]) == ("warn", "ok")


# --- providers
def providers(capsys: Capture) -> dict[str, dict[str, Any]]:
    assert main(["providers", "--json"]) == 0
    said = capsys.readouterr()
    assert not said.err
    return {row["name"]: row for row in json.loads(said.out)}


def test_the_harnesses_and_what_they_lack(env: dict[str, str], capsys: Capture):
    found = providers(capsys)
    assert tuple(found) == supported_providers()
    assert not any(row["ready"] for row in found.values())
    assert "HARNESS_COMMAND" in found["subprocess"]["why"]
    assert found["claude"]["from"].startswith("agent-swarm-worker ")


def test_a_harness_that_is_ready(env: dict[str, str], capsys: Capture):
    env.update(harness_env())
    found = providers(capsys)["subprocess"]
    assert (found["ready"], found["why"]) == (True, "")
    assert main(["providers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["HARNESS", "READY", "FROM"]
    rows = [line.split()[:2] for line in lines[1:]]
    assert ["claude", "no"] in rows
    assert ["subprocess", "yes"] in rows


THIRD_PARTY = """
class Picky:
    async def check(self, env, guest):
        raise AttributeError("nobody has thought of this")

def broken():
    raise ValueError("no such luck")
"""


def test_other_peoples_harnesses_cannot_break_the_list(
    good: dict[str, str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    info = tmp_path / "site" / "others-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(
        "[agent_swarm_worker.providers]\n"
        "absent = others_absent:Adapter\nbroken = others:broken\npicky = others:Picky\n"
    )
    (tmp_path / "site" / "others.py").write_text(THIRD_PARTY)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    found = providers(capsys)
    assert {"absent", "broken", "claude", "picky", "subprocess"} <= set(found)
    assert "No module named 'others_absent'" in found["absent"]["why"]
    assert "no such luck" in found["broken"]["why"]
    assert "nobody has thought of this" in found["picky"]["why"]
    assert found["picky"]["from"] == "others 2.0"
    assert found["subprocess"]["ready"]
    for name in ("absent", "broken", "picky"):
        good["HARNESS_PROVIDER"] = name
        assert "others 2.0" in findings(capsys, 1)["harness"]["detail"]


def test_what_a_harness_declares_can_be_read(env: dict[str, str], capsys: Capture):
    assert main(["providers", "claude", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["capabilities"]["can_resume"] is True
    assert shown["capabilities"]["cost_source"] == "harness"
    assert shown["models"]["tiers"]["smol"] == "haiku"
    assert "CLAUDE_BINARY" in shown["options"]
    assert shown["program"]["install"].startswith("npm install --global @anthropic-ai/claude-code@")
    for name in supported_providers():
        assert main(["providers", name]) == 0
        has_tools = bool(spec_of(name).capabilities.mcp_transports)
        assert ("capabilities.mcp_transports" in capsys.readouterr().out) == has_tools, name


def test_a_harness_that_is_not_installed_declares_nothing(env: dict[str, str], capsys: Capture):
    assert main(["providers", "nobody"]) == 78
    assert "nobody" in capsys.readouterr().err


def program(tmp_path: Path, name: str, script: str) -> str:
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_an_installed_harness_is_told_from_one_with_a_login(
    env: dict[str, str], tmp_path: Path, capsys: Capture
):
    env["CLAUDE_BINARY"] = program(tmp_path, "claude", 'echo "9.9.9 (Claude Code)"')
    found = providers(capsys)
    claude = found["claude"]
    assert (claude["status"], claude["version"]) == ("INSTALLED", "9.9.9 (Claude Code)")
    assert "ANTHROPIC_API_KEY" in claude["todo"]
    assert found["codex"]["status"] == "NOT_FOUND"
    assert "npm install" in found["codex"]["todo"]
    env["ANTHROPIC_API_KEY"] = "sk-ant-0123456789abcdef"
    claude = providers(capsys)["claude"]
    assert (claude["status"], claude["todo"]) == ("LOGIN_DETECTED", "")
    assert "ANTHROPIC_API_KEY" in claude["reason"]


def test_a_program_that_hangs_is_still_found(
    env: dict[str, str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(availability, "PROBE_S", 0.2)
    env["CLAUDE_BINARY"] = program(tmp_path, "claude", "sleep 600")
    claude = providers(capsys)["claude"]
    assert (claude["status"], claude["version"]) == ("INSTALLED", "")
    assert "--version took longer than 0.2 s" in claude["reason"]
    monkeypatch.setattr(availability, "PROBE_S", 60.0)
    env["CLAUDE_BINARY"] = program(tmp_path, "broken", "echo boom; exit 9")
    claude = providers(capsys)["claude"]
    assert (claude["status"], claude["version"]) == ("INSTALLED", "")
    assert "--version ended with exit code 9" in claude["reason"]


def test_the_options_of_each_harness_have_a_schema(env: dict[str, str], capsys: Capture):
    for name in supported_providers():
        assert main(["providers", "schema", name]) == 0
        schema = json.loads(capsys.readouterr().out)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        Draft202012Validator.check_schema(schema)
        for variable, about in schema["properties"].items():
            assert about["title"], variable
            assert about["description"], variable
    assert main(["providers", "schema", "claude"]) == 0
    properties = json.loads(capsys.readouterr().out)["properties"]
    assert properties["CLAUDE_BINARY"]["default"] == "claude"
    assert properties["ANTHROPIC_API_KEY"]["format"] == "password"
    assert properties["CLAUDE_CONFIG_DIR"]["x-effect"] == "operator only"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["schema"], 2, "name of a harness"),
        (["schema", "nobody"], 78, "nobody"),
        (["claude", "codex"], 2, "codex"),
    ],
)
def test_a_schema_of_nothing(
    arguments: list[str], code: int, said: str, env: dict[str, str], capsys: Capture
):
    assert main(["providers", *arguments]) == code
    assert said in capsys.readouterr().err


def test_a_harness_that_cannot_keep_the_policy(
    good: dict[str, str], capsys: Capture, tmp_path: Path
):
    good["SWARM_PERMISSIONS"] = "read-only"
    found = findings(capsys, 1)["harness"]
    assert found["state"] == "fail"
    assert "'subprocess' never asks for permission" in found["detail"]
    assert "SWARM_PERMISSIONS=bypass" in found["advice"]
    assert main(["providers", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert not rows["subprocess"]["ready"]
    assert "never asks for permission" in rows["subprocess"]["why"]
    good["SWARM_PERMISSION_RULES"] = str(tmp_path / "none.toml")
    assert "none.toml" in findings(capsys, 1)["settings"]["detail"]
