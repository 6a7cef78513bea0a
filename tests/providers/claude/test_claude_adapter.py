"""The adapter of claude, with a program that prints recordings as the CLI."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import pytest
from claude_config import make_config
from claude_streams import STREAMS

from agent_swarm_worker.contract import ProviderAdapter, Result, SessionInit
from agent_swarm_worker.errors import BadSetting, BinaryMissing, CredentialsMissing
from agent_swarm_worker.providers.claude.adapter import ClaudeAdapter
from agent_swarm_worker.sandboxes.local import LocalGuest

if TYPE_CHECKING:
    from pathlib import Path

SESSION = "11111111-1111-4111-8111-111111111111"

# Notes down how it was started, then plays one recording for a resumed session, another else.
PLAYER = """
import json, os, pathlib, stat, sys
if sys.argv[-1] == "--version":
    sys.exit()
argv, streams, notes = sys.argv[4:], pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
files = {arg: [oct(os.stat(arg).st_mode & 0o777), pathlib.Path(arg).read_text()]
         for arg in argv if arg.startswith("/")}
with notes.open("a") as out:
    print(json.dumps({"argv": argv, "stdin": sys.stdin.read(), "files": files}), file=out)
fresh, resumed = sys.argv[3].split(",")
name = resumed if any(arg.startswith("--resume") for arg in argv) else fresh
sys.stdout.write((streams / (name + ".jsonl")).read_text())
sys.exit("error" in name or name == "resume_unknown")
"""


def player(folder: Path, *, fresh: str = "hello", resumed: str = "resumed") -> dict[str, str]:
    """The environment in which the player stands for the CLI."""
    program = folder / "player.py"
    program.write_text(PLAYER)
    words = [sys.executable, program, STREAMS, folder / "notes", f"{fresh},{resumed}"]
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "ANTHROPIC_API_KEY": "sk-ant-0001",
        "CLAUDE_BINARY": shlex.join(map(str, words)),
    }


def notes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "notes").read_text().splitlines()]


def test_it_is_an_adapter() -> None:
    adapter = ClaudeAdapter()
    assert isinstance(adapter, ProviderAdapter)
    assert adapter.name == "claude"
    assert adapter.spec.capabilities.mcp_transports
    assert adapter.spec.skills.native_discovery
    assert adapter.spec.credentials.variables == ("CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY")
    assert adapter.format_command("work-on-task") == "/work-on-task"


NO_CREDENTIAL = [{}, {"ANTHROPIC_API_KEY": " "}, {"CLAUDE_CODE_OAUTH_TOKEN": ""}]


@pytest.mark.anyio
@pytest.mark.parametrize("env", NO_CREDENTIAL)
async def test_a_check_misses_the_credential(env: dict[str, str]) -> None:
    with pytest.raises(CredentialsMissing):
        await ClaudeAdapter().check({**env, "CLAUDE_BINARY": sys.executable}, LocalGuest("check"))


@pytest.mark.anyio
async def test_a_check_misses_the_program() -> None:
    env = {"ANTHROPIC_API_KEY": "k", "CLAUDE_BINARY": "claude-is-not-here --debug"}
    with pytest.raises(BinaryMissing, match="claude-is-not-here"):
        await ClaudeAdapter().check(env, LocalGuest("check"))
    await ClaudeAdapter().check(
        {**env, "CLAUDE_BINARY": f"{sys.executable} -m claude"}, LocalGuest("check")
    )


@pytest.mark.anyio
@pytest.mark.parametrize("env", NO_CREDENTIAL)
async def test_without_a_credential_no_session(tmp_path: Path, env: dict[str, str]) -> None:
    with pytest.raises(CredentialsMissing) as caught:
        await ClaudeAdapter().create_session(make_config(tmp_path, env=env))
    assert caught.value.missing == ("CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY")


@pytest.mark.anyio
async def test_a_binary_nobody_can_read_is_refused_at_once(tmp_path: Path) -> None:
    env = {"ANTHROPIC_API_KEY": "k", "CLAUDE_BINARY": "'open"}
    with pytest.raises(BadSetting, match="CLAUDE_BINARY"):
        await ClaudeAdapter().create_session(make_config(tmp_path, env=env))


@pytest.mark.anyio
async def test_a_session_from_start_to_end(tmp_path: Path) -> None:
    config = make_config(
        tmp_path, env=player(tmp_path), prompt="--help me", system_prompt="Be kind."
    )
    session = await ClaudeAdapter().create_session(config)
    events: list[Any] = []
    session.on_event(events.append)
    result = await session.wait_for_completion()

    assert not result.is_error
    assert result.output == "Hello from the model."
    assert session.session_id == result.session_id == SESSION
    assert [type(event) for event in events if isinstance(event, SessionInit | Result)] == [
        SessionInit,
        Result,
    ]
    (run,) = notes(tmp_path)
    assert run["stdin"] == "--help me"
    (system_mode, system), (mcp_mode, mcp) = run["files"].values()
    assert (system_mode, mcp_mode, system) == ("0o600", "0o600", "Be kind.")
    assert json.loads(mcp)["mcpServers"]["agent-swarm"]["headers"]["X-Source-Task-Id"] == "task-1"
    assert list((tmp_path / "private").iterdir()) == []


@pytest.mark.anyio
async def test_a_session_that_is_gone_is_begun_afresh(tmp_path: Path) -> None:
    config = make_config(
        tmp_path, env=player(tmp_path, resumed="resume_unknown"), resume_session_id=SESSION
    )
    result = await (await ClaudeAdapter().create_session(config)).wait_for_completion()
    assert not result.is_error
    resumed, fresh = notes(tmp_path)
    assert f"--resume={SESSION}" in resumed["argv"]
    assert not any(word.startswith("--resume") for word in fresh["argv"])


@pytest.mark.anyio
async def test_a_failure_that_has_another_cause_is_not_tried_again(tmp_path: Path) -> None:
    config = make_config(
        tmp_path, env=player(tmp_path, resumed="error_401"), resume_session_id=SESSION
    )
    result = await (await ClaudeAdapter().create_session(config)).wait_for_completion()
    assert result.error_category == "authentication_failed"
    assert len(notes(tmp_path)) == 1


# --- what can be resumed


@pytest.mark.anyio
@pytest.mark.parametrize("where", ["HOME", "CLAUDE_CONFIG_DIR"])
async def test_a_transcript_can_be_resumed(tmp_path: Path, where: str) -> None:
    root = tmp_path / (".claude" if where == "HOME" else "")
    project = root / "projects/-some-where"
    project.mkdir(parents=True)
    (project / f"{SESSION}.jsonl").write_text("{}\n")
    config = make_config(tmp_path, env={where: str(tmp_path)})
    assert await ClaudeAdapter().can_resume(SESSION, config)
    other = SESSION.replace("1", "2")
    assert not await ClaudeAdapter().can_resume(other, config)
    assert not await ClaudeAdapter().can_resume(SESSION, make_config(tmp_path, env={}))


@pytest.mark.anyio
@pytest.mark.parametrize("session_id", ["", "*", "../x", "a title", "[1]", f"{SESSION}\n"])
async def test_an_id_that_is_none_cannot_be_resumed(tmp_path: Path, session_id: str) -> None:
    project = tmp_path / ".claude/projects/p"
    project.mkdir(parents=True)
    (project / f"{SESSION}.jsonl").write_text("{}\n")
    (project / "a title.jsonl").write_text("{}\n")
    config = make_config(tmp_path)
    assert not await ClaudeAdapter().can_resume(session_id, config)


@pytest.mark.anyio
async def test_a_transcript_must_be_a_file_with_something_in_it(tmp_path: Path) -> None:
    project = tmp_path / ".claude/projects/p"
    project.mkdir(parents=True)
    (project / f"{SESSION}.jsonl").touch()
    (tmp_path / ".claude/projects/q" / f"{SESSION}.jsonl").mkdir(parents=True)
    assert not await ClaudeAdapter().can_resume(SESSION, make_config(tmp_path))
