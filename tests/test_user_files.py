"""Files that people wrote on other systems: a byte order mark, UTF-16, CRLF."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_swarm_worker.cli.task import _schema
from agent_swarm_worker.credentials.codex import login_in_file
from agent_swarm_worker.logs import Log
from agent_swarm_worker.prompts.system import operator_prompt
from agent_swarm_worker.providers.codex.credentials import find_credential
from agent_swarm_worker.providers.codex.launch import operator_config
from agent_swarm_worker.providers.pi.session import system_prompt
from agent_swarm_worker.providers.pi.skills import with_skill
from agent_swarm_worker.sandboxes.local import LocalGuest
from agent_swarm_worker.settings import Settings
from agent_swarm_worker.skills.folders import resolve_command

pytestmark = pytest.mark.anyio
Write = Callable[[Path, str], None]


@pytest.fixture(params=["utf-8-sig", "utf-16", "utf-16-be", "utf-8"])
def write(request: pytest.FixtureRequest) -> Write:
    def write(path: Path, content: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = "\ufeff" if request.param == "utf-16-be" else ""
        path.write_bytes((mark + content.replace("\n", "\r\n")).encode(request.param))

    return write


@pytest.fixture
def guest() -> LocalGuest:
    return LocalGuest("no-processes")


async def test_the_configuration_and_login_of_codex(
    tmp_path: Path, write: Write, guest: LocalGuest
):
    write(tmp_path / "config.toml", 'model = "grün"\n[tools]\nweb = true\n')
    expected = {"model": "grün", "tools": {"web": True}}
    assert await operator_config(guest, tmp_path, Log()) == expected
    write(tmp_path / "auth.json", json.dumps({"tokens": {"access_token": "t"}}, indent=1))
    found = await find_credential({"CODEX_HOME": str(tmp_path)}, guest)
    assert found.file == tmp_path / "auth.json"


def test_a_codex_login_with_a_mark_is_one(tmp_path: Path):
    path = tmp_path / "auth.json"
    tokens = {"access_token": "a", "refresh_token": "r", "account_id": "one"}
    path.write_text(json.dumps({"tokens": tokens}), encoding="utf-8-sig")
    found = login_in_file(path)
    assert found is not None
    assert found.account_id == "one"


def test_the_operators_prompt_and_a_schema(tmp_path: Path, write: Write):
    path = tmp_path / "prompt.md"
    write(path, "Be kind.\nAlways.")
    assert operator_prompt(Settings(system_prompt_file=path)) == "Be kind.\nAlways."
    write(path, '{\n"type": "object"}')
    assert _schema(path) == {"type": "object"}


async def test_skills_and_instructions_of_pi(tmp_path: Path, write: Write, guest: LocalGuest):
    write(tmp_path / "AGENTS.md", "Use tabs.\nOnly.")
    said = await system_prompt("own", guest, tmp_path, [], "")
    assert said.endswith("## Project instructions (AGENTS.md)\n\nUse tabs.\nOnly.")
    write(tmp_path / ".pi/agent/skills/go/SKILL.md", "---\nname: go\n---\nGo on.\nNow.")
    told: list[str] = []
    prompt = await with_skill("/skill:go", guest, {"HOME": str(tmp_path)}, told.append)
    assert "Go on.\nNow." in prompt
    assert "\ufeff" not in prompt + said


def test_a_skill_in_a_prompt_has_no_mark(tmp_path: Path):
    path = tmp_path / "go/SKILL.md"
    path.parent.mkdir()
    path.write_text("Go on.\n", encoding="utf-8-sig")
    assert resolve_command("/go", tmp_path).prompt.startswith("Go on.")
