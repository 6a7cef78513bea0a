"""Resolving a model, its address and its key; `check` of an environment."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent_swarm_worker.errors import CredentialsMissing, UnknownModel, UnreadableFile
from agent_swarm_worker.providers.pi.adapter import PiAdapter
from agent_swarm_worker.providers.pi.files import AgentFiles, read_agent_files
from agent_swarm_worker.providers.pi.models import ModelChoice, choose_model
from agent_swarm_worker.sandboxes.local import LocalGuest

A = {"ANTHROPIC_API_KEY": "a-key"}
O = {"OPENAI_API_KEY": "o-key"}  # noqa: E741
R = {"OPENROUTER_API_KEY": "r-key"}
CLAUDE = {"CLAUDE_CODE_OAUTH_TOKEN": "claude-token"}
CUSTOM = {
    "mine": {
        "baseUrl": "http://mine.test/v1/",
        "apiKey": "literal-key",
        "models": [{"id": "own", "contextWindow": 1234}, {"id": "claude-own", "api": "nonsense"}],
    },
    "homeless": {"models": [{"id": "own"}]},
}


def choose(wanted: str, env: dict[str, str], **files: Any) -> ModelChoice:
    return choose_model(wanted, env, AgentFiles(**files))


@pytest.mark.parametrize(
    ("wanted", "env", "expected"),
    [
        ("opus", A, "anthropic/claude-opus-4-8"),
        ("Fable", A | R, "anthropic/claude-fable-5"),
        ("haiku", R, "openrouter/anthropic/claude-haiku-4.5"),
        ("sonnet", R | O | CLAUDE, "openrouter/anthropic/claude-sonnet-5"),
        ("", A | R | O, "anthropic/claude-opus-4-8"),
        ("", R | O, "openrouter/anthropic/claude-opus-4.8"),
        ("", O | CLAUDE, "openai/gpt-5.6-terra"),
        ("anthropic/claude-x/y", A, "anthropic/claude-x/y"),
        ("openrouter/deepseek/deepseek-v4-pro", R | A, "openrouter/deepseek/deepseek-v4-pro"),
        ("openai/gpt-9", O | A, "openai/gpt-9"),
        ("claude-sonnet-5", A, "anthropic/claude-sonnet-5"),
        ("claude-sonnet-5", R, "openrouter/anthropic/claude-sonnet-5"),
        ("gpt-9", O | R, "openai/gpt-9"),
        ("gpt-9", R, "openrouter/openai/gpt-9"),
        ("my-llama", O, "openai/my-llama"),
        ("deepseek/deepseek-v4", R, "openrouter/deepseek/deepseek-v4"),
        ("mine/own", A, "mine/own"),
        ("own", A, "mine/own"),
        ("amazon-bedrock/eu.anthropic.claude-opus-4-8", A, None),
    ],
)
def test_resolution(wanted: str, env: dict[str, str], expected: str | None):
    found = choose(wanted, env, providers=CUSTOM)
    assert found.name == (expected or wanted)
    key = {"anthropic": "a-key", "openai": "o-key", "openrouter": "r-key", "mine": "literal-key"}
    assert found.credential.key == key.get(found.provider, "")


@pytest.mark.parametrize(
    ("wanted", "env", "error"),
    [
        ("opus", O, CredentialsMissing),
        ("opus", CLAUDE, CredentialsMissing),
        ("anthropic/claude-x", R, CredentialsMissing),
        ("openai/gpt-9", A, CredentialsMissing),
        ("nosuch/model", A, UnknownModel),
        ("google/gemini", O, UnknownModel),
        ("mine/other", A, UnknownModel),
        ("homeless/own", A, UnknownModel),
        ("mine/claude-own", A, UnknownModel),
        ("something", A, UnknownModel),
        ("anthropic/", A, UnknownModel),
        ("", CLAUDE, CredentialsMissing),
    ],
)
def test_never_another_one(wanted: str, env: dict[str, str], error: type[Exception]):
    providers = {} if not wanted else CUSTOM
    with pytest.raises(error):
        choose(wanted, env, providers=providers)


@pytest.mark.parametrize(
    ("wanted", "env", "base_url", "api"),
    [
        ("opus", A, "https://api.anthropic.com", "anthropic-messages"),
        ("opus", A | {"ANTHROPIC_BASE_URL": "http://p/v1/"}, "http://p", "anthropic-messages"),
        ("gpt-9", O, "https://api.openai.com/v1", "openai-responses"),
        ("gpt-9", O | {"OPENAI_BASE_URL": "http://p/v1"}, "http://p/v1", "openai-completions"),
        ("opus", R, "https://openrouter.ai/api/v1", "openrouter"),
        (
            "opus",
            R | {"OPENROUTER_BASE_URL": " http://p/api/v1// "},
            "http://p/api/v1",
            "openrouter",
        ),
        ("opus", R | {"OPENROUTER_BASE_URL": "  "}, "https://openrouter.ai/api/v1", "openrouter"),
        ("mine/own", {}, "http://mine.test/v1", "openai-completions"),
    ],
)
def test_addresses(wanted: str, env: dict[str, str], base_url: str, api: str):
    found = choose(wanted, env, providers=CUSTOM)
    assert (found.base_url, found.api) == (base_url, api)


def test_windows():
    assert choose("opus", A).context_window == 1_000_000
    assert choose("haiku", A).context_window == 200_000
    assert choose("opus", R).context_window == 1_000_000
    assert choose("gpt-9", O).context_window == 200_000
    assert choose("mine/own", {}, providers=CUSTOM).context_window == 1234


def test_a_key_of_the_file_counts_until_it_runs_out():
    soon = (time.time() + 60) * 1000
    oauth = {"type": "oauth", "access": "token-1", "refresh": "r", "expires": soon}
    assert choose("opus", {}, auth={"anthropic": oauth}).credential.bearer == "token-1"
    with pytest.raises(CredentialsMissing):
        choose("opus", {}, auth={"anthropic": {**oauth, "expires": 1000}})
    by_name = {"type": "api_key", "key": "$WORK_KEY"}
    env = {"WORK_KEY": "from-env"}
    assert choose("gpt-9", env, auth={"openai": by_name}).credential.key == "from-env"
    assert choose("gpt-9", O, auth={"openai": by_name}).credential.key == "o-key"
    with pytest.raises(UnknownModel, match="command"):
        choose("gpt-9", {}, auth={"openai": {"type": "api_key", "key": "!pass show it"}})


def agent_env(tmp_path: Path, **files: str) -> dict[str, str]:
    folder = tmp_path / ".pi/agent"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content)
    return {"HOME": str(tmp_path)}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("env", "missing"),
    [
        ({}, ("ANTHROPIC_API_KEY", "OPENROUTER_API_KEY", "OPENAI_API_KEY")),
        (CLAUDE, ("ANTHROPIC_API_KEY", "OPENROUTER_API_KEY", "OPENAI_API_KEY")),
        ({"OPENAI_API_KEY": "  "}, ("ANTHROPIC_API_KEY", "OPENROUTER_API_KEY", "OPENAI_API_KEY")),
        (O | {"MODEL_OVERRIDE": "fable"}, ("ANTHROPIC_API_KEY", "OPENROUTER_API_KEY")),
        (A | {"MODEL_OVERRIDE": "openrouter/x/y"}, ("OPENROUTER_API_KEY",)),
        (R | {"MODEL_OVERRIDE": "anthropic/x"}, ("ANTHROPIC_API_KEY",)),
        (A | {"MODEL_OVERRIDE": "Amazon-Bedrock/x"}, ("AWS_REGION",)),
        (A | {"BEDROCK_AUTH_MODE": "sdk"}, ("AWS_REGION",)),
        (A, None),
        (O, None),
        (R | {"MODEL_OVERRIDE": "opus"}, None),
        ({"AWS_REGION": "eu", "MODEL_OVERRIDE": "amazon-bedrock/x"}, None),
    ],
)
async def test_check(tmp_path: Path, env: dict[str, str], missing: tuple[str, ...] | None):
    env = {"HOME": str(tmp_path), **env}
    if missing is None:
        await PiAdapter().check(env, LocalGuest("check"))
        return
    with pytest.raises(CredentialsMissing) as caught:
        await PiAdapter().check(env, LocalGuest("check"))
    assert caught.value.missing == missing


@pytest.mark.anyio
async def test_check_takes_the_agent_directory(tmp_path: Path):
    auth = json.dumps({"anthropic": {"type": "api_key", "key": "k"}})
    env = agent_env(tmp_path, auth=auth)
    await PiAdapter().check(env, LocalGuest("check"))
    elsewhere = {"HOME": "/nowhere", "PI_CODING_AGENT_DIR": str(tmp_path / ".pi/agent")}
    await PiAdapter().check(elsewhere, LocalGuest("check"))
    there = {"HOME": str(tmp_path), "PI_CODING_AGENT_DIR": "~/.pi/agent"}
    assert (await read_agent_files(there, LocalGuest("check"))).auth


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["auth", "models"])
@pytest.mark.parametrize("content", ['{"a": secret', "[]", '{"providers": 7, "x": 1}', "\xff"])
async def test_a_broken_file_is_named_and_not_shown(tmp_path: Path, name: str, content: str):
    env = agent_env(tmp_path, **{name: content})
    with pytest.raises(UnreadableFile, match=f"{name}.json") as caught:
        await PiAdapter().check({**env, **A}, LocalGuest("check"))
    assert "secret" not in str(caught.value)


@pytest.mark.anyio
async def test_what_is_unreadable_is_said(tmp_path: Path):
    env = agent_env(tmp_path)
    (tmp_path / ".pi/agent/auth.json").mkdir()
    with pytest.raises(UnreadableFile, match="directory"):
        await PiAdapter().check({**env, **A}, LocalGuest("check"))
    assert stat.S_ISDIR((tmp_path / ".pi/agent/auth.json").stat().st_mode)


@pytest.mark.long
def test_nothing_heavy_is_imported_before_a_session_starts(tmp_path: Path):
    script = (
        "import sys\n"
        "from agent_swarm_worker.providers.registry import create_provider\n"
        "adapter = create_provider('pi')\n"
        "import anyio\n"
        "from agent_swarm_worker.sandboxes.local import LocalGuest\n"
        f"env = {{'HOME': {str(tmp_path)!r}, 'ANTHROPIC_API_KEY': 'k'}}\n"
        "anyio.run(adapter.check, env, LocalGuest('check'))\n"
        "heavy = {'pydantic_ai', 'openai', 'anthropic', 'tiktoken', 'genai_prices', 'mcp'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert said.stdout.decode().strip() == "[]", said


def test_how_commands_are_written():
    assert PiAdapter().format_command("work-on-task") == "/skill:work-on-task"
    assert PiAdapter.spec.capabilities.steer_modes == ("steer", "queue")
