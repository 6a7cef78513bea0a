"""The adapter of codex with a faulty CLI, as a real child process."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import anyio
import pytest
from codex_config import THREAD, make_config

from agent_swarm_worker.contract import ProviderAdapter, ProviderResult, SessionInit, ToolStart
from agent_swarm_worker.errors import (
    BadSetting,
    BinaryMissing,
    CredentialDamaged,
    CredentialsMissing,
    ProviderError,
)
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.providers.codex.adapter import CodexAdapter
from agent_swarm_worker.providers.codex.launch import MAX_PROMPT_CHARS
from agent_swarm_worker.sandboxes.local import LocalGuest

pytestmark = pytest.mark.anyio
FAKE = Path(__file__).parent / "fake_codex.py"


class CodexRig:
    """The adapter, the fake, and what the fake has recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Any] = []

    def config(self, how: str = "", transport: str = "exec", **changed: Any) -> Any:
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "OPENAI_API_KEY": "sk-0001",
            "CODEX_BINARY": f"{sys.executable} {FAKE}",
            "CODEX_TRANSPORT": transport,
            "FAKE": how,
            "FAKE_LOG": str(self.folder / "fake.log"),
            **changed.pop("env", {}),
        }
        return make_config(self.folder, env=env, **changed)

    async def run(self, how: str = "", transport: str = "exec", **changed: Any) -> ProviderResult:
        session = await CodexAdapter().create_session(self.config(how, transport, **changed))
        session.on_event(self.events.append)
        return await session.wait_for_completion()

    @property
    def recorded(self) -> list[dict[str, Any]]:
        lines = (self.folder / "fake.log").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def rig(tmp_path: Path) -> CodexRig:
    return CodexRig(tmp_path)


@pytest.mark.parametrize("transport", ["app-server", "exec"])
async def test_the_plain_course(rig: CodexRig, transport: str):
    result = await rig.run(transport=transport)
    assert (result.is_error, result.output, result.session_id) == (False, "Did it.", THREAD)


@pytest.mark.parametrize(("how", "chosen"), [("old", "exec"), ("", "app-server")])
async def test_a_cli_without_an_app_server_is_asked_another_way(
    rig: CodexRig, how: str, chosen: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("agent_swarm_worker.providers.codex.launch._probed", {})
    assert not (await rig.run(how, transport="auto")).is_error
    (init,) = [event for event in rig.events if isinstance(event, SessionInit)]
    assert init.harness_variant_meta["transport"] == chosen


async def test_nothing_of_the_task_is_in_the_arguments(rig: CodexRig):
    await rig.run(prompt="secret words", system_prompt="secret orders", model="Sonnet")
    (recorded,) = rig.recorded
    assert recorded["argv"] == ["exec", "--json", "--skip-git-repo-check", "-"]
    assert recorded["prompt"] == "secret words"
    config = tomllib.loads(recorded["config"])
    assert config["developer_instructions"] == "secret orders"
    assert config["model"] == "gpt-5.6-terra"
    assert "swarm-api-key-0001" in recorded["config"]
    home = rig.folder / "private/codex-home"
    assert not (home / "config.toml").exists(), "the file with the keys is gone"


async def test_the_operators_model_stands_where_nobody_chose(rig: CodexRig):
    (rig.folder / ".codex").mkdir()
    (rig.folder / ".codex/config.toml").write_text('model = "their-model"\n')
    await rig.run()
    await rig.run(model="gpt-5.5", reasoning_effort="xhigh")
    theirs, ours = [tomllib.loads(recorded["config"]) for recorded in rig.recorded]
    assert theirs["model"] == "their-model"
    assert (ours["model"], ours["model_reasoning_effort"]) == ("gpt-5.5", "xhigh")


async def test_an_effort_the_model_does_not_have_is_not_asked_for(rig: CodexRig):
    result = await rig.run(model="gpt-5.3-codex", reasoning_effort="max")
    assert result.applied_reasoning_effort is None
    assert "model_reasoning_effort" not in rig.recorded[0]["config"]


async def test_garbage_between_the_lines(rig: CodexRig):
    result = await rig.run("garbage")
    assert (result.is_error, result.output) == (False, "Did it.")


async def test_a_good_exit_without_a_turn_is_no_success(rig: CodexRig):
    result = await rig.run("no_end")
    assert (result.is_error, result.exit_code) == (True, 1)


@pytest.mark.parametrize("transport", ["app-server", pytest.param("exec", marks=pytest.mark.long)])
async def test_one_that_stays_after_its_last_word_is_ended(rig: CodexRig, transport: str):
    result = await rig.run("stays", transport, result_grace_s=0.3)
    assert (result.is_error, result.output) == (False, "Did it.")


async def test_a_session_that_is_gone_is_begun_afresh(rig: CodexRig):
    folder = rig.folder / ".codex/sessions/2026/11/20"
    folder.mkdir(parents=True)
    (folder / f"rollout-x-{THREAD}.jsonl").write_text("{}\n")
    result = await rig.run(resume_session_id=THREAD, fresh_prompt="the whole story")
    assert (result.is_error, result.output) == (False, "Did it.")
    first, second = rig.recorded
    assert first["argv"] == ["exec", "resume", "--json", "--skip-git-repo-check", THREAD, "-"]
    assert second["prompt"] == "the whole story"


@pytest.mark.parametrize("asked", ["by-name", "--last", THREAD])
async def test_what_cannot_be_resumed_is_not_asked_for(rig: CodexRig, asked: str):
    """The CLI starts a new thread for a name that is no UUID, and reports success."""
    config = rig.config()
    assert not await CodexAdapter().can_resume(asked, config)
    await rig.run(resume_session_id=asked, fresh_prompt="the whole story")
    (recorded,) = rig.recorded
    assert "resume" not in recorded["argv"]
    assert recorded["prompt"] == "the whole story"


@pytest.mark.parametrize(("how", "words"), [("refuses", "unknown variant"), ("dies", "code 3")])
async def test_a_server_that_does_not_play_along(rig: CodexRig, how: str, words: str):
    result = await rig.run(how, "app-server")
    assert result.is_error
    assert words in (result.failure_reason or "")


@pytest.mark.long
async def test_a_server_that_is_deaf_to_the_interruption_is_killed(rig: CodexRig):
    """And so is the command that it had put into a session of its own."""
    session = await CodexAdapter().create_session(rig.config("deaf", "app-server"))
    async with anyio.create_task_group() as tasks:

        def on_event(event: Any) -> None:
            if isinstance(event, ToolStart):
                tasks.start_soon(session.abort, "cancelled")

        session.on_event(on_event)
        result = await session.wait_for_completion()
    assert (result.error_category, result.failure_reason) == ("aborted", "Aborted: cancelled")
    assert {"method": "turn/interrupt"} in rig.recorded
    assert not [pid for pid in procfs.snapshot() if "sleep\0987\0" in command_of(pid)]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


async def test_a_mute_server_can_be_aborted(rig: CodexRig):
    session = await CodexAdapter().create_session(rig.config("mute", "app-server"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.abort, "shutdown")
        result = await session.wait_for_completion()
    assert result.error_category == "aborted"


@pytest.mark.parametrize("prompt", ["", "  \n", "x" * (MAX_PROMPT_CHARS + 1)], ids=len)
async def test_prompts_it_does_not_take(rig: CodexRig, prompt: str):
    with pytest.raises(ProviderError, match=r"no prompt|too long"):
        await rig.run(prompt=prompt)


async def test_a_story_that_is_too_long_is_not_told(rig: CodexRig):
    story = "x" * (MAX_PROMPT_CHARS + 1)
    assert not (await rig.run(resume_session_id=THREAD, fresh_prompt=story)).is_error
    assert rig.recorded[0]["prompt"] == "do it"


async def test_the_system_prompt_by_agents_md(rig: CodexRig):
    config = rig.config(system_prompt="Orders.", env={"CODEX_SYSTEM_PROMPT": "agents-md"})
    session = await CodexAdapter().create_session(config)
    file = config.cwd / "AGENTS.md"
    seen: list[str] = []
    session.on_event(lambda _: seen.append(file.read_text()))
    assert not (await session.wait_for_completion()).is_error
    assert "Orders." in seen[0]
    assert not file.exists()
    assert "developer_instructions" not in rig.recorded[0]["config"]


def test_it_keeps_the_contract():
    adapter = CodexAdapter()
    assert isinstance(adapter, ProviderAdapter)
    assert adapter.spec.capabilities.steer_modes == ("steer", "queue")
    assert not adapter.spec.skills.native_discovery
    assert adapter.format_command("work-on-task") == "/work-on-task"


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"CODEX_BINARY": "", "PATH": "/nowhere"}, BinaryMissing, "codex"),
        ({"CODEX_BINARY": "", "CODEX_PATH_OVERRIDE": "/no/codex"}, BinaryMissing, "/no/codex"),
        ({"CODEX_BINARY": "'open"}, BadSetting, "CODEX_BINARY"),
        ({"CODEX_TRANSPORT": "telepathy"}, BadSetting, "CODEX_TRANSPORT"),
        ({"CODEX_SYSTEM_PROMPT": "poem"}, BadSetting, "CODEX_SYSTEM_PROMPT"),
        ({"CODEX_NETWORK_TIMEOUT_SECONDS": "soon"}, BadSetting, "CODEX_NETWORK_TIMEOUT_SECONDS"),
        ({"CODEX_NETWORK_TIMEOUT_SECONDS": "nan"}, BadSetting, "CODEX_NETWORK_TIMEOUT_SECONDS"),
        ({"OPENAI_API_KEY": ""}, CredentialsMissing, "OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": "", "CODEX_OAUTH": "{"}, CredentialDamaged, "CODEX_OAUTH"),
    ],
)
async def test_what_is_checked_before(
    rig: CodexRig, changed: dict[str, str], error: type[Exception], words: str
):
    env = {**rig.config().env, **changed}
    with pytest.raises(error, match=words):
        await CodexAdapter().check(env, LocalGuest("check"))
    if error is not BinaryMissing:
        with pytest.raises(error, match=words):
            await CodexAdapter().create_session(rig.config(env=changed))


async def test_a_login_of_any_kind_is_enough(rig: CodexRig, tmp_path: Path):
    env = {**rig.config().env, "OPENAI_API_KEY": ""}
    await CodexAdapter().check({**env, "CODEX_OAUTH": '{"access": "a"}'}, LocalGuest("check"))
    await CodexAdapter().check({**env, "codex_oauth_2": '{"access": "a"}'}, LocalGuest("check"))
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex/auth.json").write_text('{"tokens": {"access_token": "a"}}')
    await CodexAdapter().check(env, LocalGuest("check"))
