"""The rows of ``ACP_TARGET``, and harnesses of this worker as targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from acp_rig import agent_env, noted, run
from session_config import session_config

from agent_swarm_worker.errors import BadSetting, CredentialsMissing
from agent_swarm_worker.providers.acp.adapter import AcpAdapter, GenericAdapter
from agent_swarm_worker.providers.acp.targets import TARGETS
from agent_swarm_worker.providers.droid.adapter import DroidAdapter
from agent_swarm_worker.providers.grok.adapter import GrokAdapter
from agent_swarm_worker.providers.opencode.adapter import OpencodeAdapter
from agent_swarm_worker.providers.registry import create_provider, supported_providers
from agent_swarm_worker.sandboxes.local import LocalGuest

pytestmark = pytest.mark.anyio

HARNESSES = ("copilot", "droid", "factory", "grok", "opencode", "qwen")


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ("custom", "deepagents")])
async def test_a_row_is_a_command_that_may_be_replaced(name: str):
    adapter = GenericAdapter()
    assert adapter.program({"ACP_TARGET": name}) == TARGETS[name].command
    other = {"ACP_TARGET": name.upper(), "ACP_COMMAND": "/opt/agent --acp"}
    assert adapter.program(other) == ("/opt/agent", "--acp")


@pytest.mark.parametrize("name", ["custom", "deepagents", "subprocess", "nonesuch"])
async def test_a_target_without_a_command(name: str):
    with pytest.raises(BadSetting):
        GenericAdapter().program({"ACP_TARGET": name})


async def test_a_harness_is_a_target_with_its_own_configuration(tmp_path: Path):
    env = {
        "ACP_TARGET": "opencode",
        "HOME": str(tmp_path),
        "PATH": "/bin",
        "OPENROUTER_API_KEY": "k",
        "ANOTHER_SECRET": "s",
    }
    config = session_config(tmp_path, env=env, system_prompt="Be brief.", model="a/b")
    plan = await GenericAdapter().plan(config)
    assert plan.command == ("opencode", "acp")
    assert "ANOTHER_SECRET" not in plan.env
    assert plan.env["OPENROUTER_API_KEY"] == "k"
    settings = json.loads(plan.env["OPENCODE_CONFIG_CONTENT"])
    assert (settings["model"], settings["instructions"]) == ("a/b", [str(plan.files[0].path)])
    replaced = {**env, "ACP_COMMAND": "oc acp --verbose"}
    plan = await GenericAdapter().plan(session_config(tmp_path, env=replaced))
    assert plan.command == ("oc", "acp", "--verbose")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("claude-agent-acp", "**Warning:** We're changing auto mode to no longer charge"),
        ("gemini", "[MODE_UPDATE] yolo"),
        ("pi-acp", "pi v1.6.0\n---\n"),
        ("pi-acp", "## Context\n- /work/AGENTS.md\n"),
    ],
)
async def test_what_the_program_adds_to_an_answer(tmp_path: Path, name: str, said: str):
    script = {"prompt": [["say", said], ["say", "Done."]], "result": {"usage": {"inputTokens": 3}}}
    ran = await run(tmp_path, script, target=TARGETS[name])
    assert (ran.result.is_error, ran.result.output) == (False, "Done.")


async def test_the_operators_model_reaches_an_agent_with_few_variables(tmp_path: Path):
    env = {"ACP_TARGET": "kimi", "HOME": str(tmp_path), "KIMI_MODEL_NAME": "kimi-k3"}
    plan = await GenericAdapter().plan(session_config(tmp_path, env=env, model=""))
    assert plan.env["KIMI_MODEL_NAME"] == "kimi-k3"


async def test_a_variable_of_the_row_stays_where_the_worker_has_the_same(tmp_path: Path):
    env = {"ACP_TARGET": "claude-agent-acp", "HOME": str(tmp_path), "IS_SANDBOX": "1"}
    plan = await GenericAdapter().plan(session_config(tmp_path, env=env))
    assert plan.env["IS_SANDBOX"] == "1", "without it root gets no full-auto mode"


async def test_tool_servers_go_into_the_file_of_an_agent_that_drops_them(tmp_path: Path):
    env = {"ACP_TARGET": "cline", "HOME": str(tmp_path), "PATH": "/bin"}
    plan = await GenericAdapter().plan(session_config(tmp_path, env=env))
    (file,) = plan.files
    assert plan.env["CLINE_MCP_SETTINGS_PATH"] == str(file.path)
    server = json.loads(file.content)["mcpServers"]["agent-swarm"]
    assert server["type"] == "streamableHttp"
    assert {"Authorization", "X-Agent-ID", "X-Source-Task-Id"} <= set(server["headers"])


async def test_the_users_folder_is_linked_but_for_its_tool_servers(tmp_path: Path):
    own = tmp_path / ".pi/agent"
    own.mkdir(parents=True)
    (own / "models.json").write_text("{}")
    (own / "mcp.json").write_text("the user's")
    env = {"ACP_TARGET": "pi-acp", "HOME": str(tmp_path), "PATH": "/bin"}
    plan = await GenericAdapter().plan(session_config(tmp_path, env=env))
    folder = Path(plan.env["PI_CODING_AGENT_DIR"])
    assert (folder / "models.json").read_text() == "{}"
    assert sorted(path.name for path in folder.iterdir()) == ["models.json", "sessions"]
    assert json.loads(plan.files[0].content)["mcpServers"]["agent-swarm"]["exposure"] == "direct"
    assert (own / "mcp.json").read_text() == "the user's"


async def test_gemini_as_a_row_never_loads_a_session(tmp_path: Path):
    ran = await run(tmp_path, target=TARGETS["gemini"], resume_session_id="s-1")
    assert ran.order.count("session/load") == ran.order.count("session/resume") == 0
    assert not ran.result.is_error


# --- the named harnesses
@pytest.mark.parametrize("name", HARNESSES)
async def test_each_says_what_is_missing(name: str, tmp_path: Path):
    adapter = create_provider(name)
    assert name in supported_providers()
    assert isinstance(adapter, AcpAdapter)
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    variable = "DROID_BINARY" if name == "factory" else f"{name.upper()}_BINARY"
    env = {"PATH": "/bin", "HOME": str(tmp_path), variable: f"{program} --first 'a b'"}
    guest = LocalGuest("acp-check")
    with pytest.raises(CredentialsMissing):
        await adapter.check(env, guest)
    await adapter.check({**env, adapter.spec.credentials.variables[0]: "key"}, guest)
    assert adapter.program(env)[:3] == (str(program), "--first", "a b")
    file = tmp_path / adapter.spec.credentials.files[0]
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    await adapter.check(env, guest)


async def test_each_finds_its_sessions_by_its_own_files(tmp_path: Path):
    files = {
        "qwen": ".qwen/projects/-work/chats/{}.jsonl",
        "copilot": ".copilot/session-state/{}/events.jsonl",
        "grok": ".grok/sessions/%2Fwork/{}/summary.json",
        "droid": ".factory/sessions/-work/{}.jsonl",
    }
    for name, where in files.items():
        path = tmp_path / where.format("abc-1")
        path.parent.mkdir(parents=True)
        path.write_text("x")
        config = session_config(tmp_path, env={"HOME": str(tmp_path)})
        adapter = create_provider(name)
        assert await adapter.can_resume("abc-1", config), name
        assert not await adapter.can_resume("abc-2", config)


def test_a_service_gets_its_own_key_only():
    adapter = GrokAdapter()
    assert adapter.program({})[-3:] == ("agent", "--always-approve", "stdio")


async def test_the_model_of_grok_decides_its_key(tmp_path: Path):
    env = {"XAI_API_KEY": "x", "OPENROUTER_API_KEY": "o", "HOME": str(tmp_path)}
    for model, key in (("grok-4.6", "XAI_API_KEY"), ("openrouter/a/b", "OPENROUTER_API_KEY")):
        plan = await GrokAdapter().plan(session_config(tmp_path, env=env, model=model))
        assert {name for name in plan.env if name.endswith("_API_KEY")} == {key}
        assert plan.command[-3:] == ("--model", model, "stdio")


async def test_the_autonomy_of_droid_is_a_limit(tmp_path: Path):
    adapter = DroidAdapter()
    assert adapter.target_of({}).modes == ("auto-high",)
    limited = adapter.target_of({"DROID_AUTONOMY": "low"})
    assert limited.modes == ("auto-low",)
    call = {"toolCallId": "c", "title": "rm"}
    ran = await run(tmp_path, {"prompt": [["permission", call], ["say", "x"]]}, target=limited)
    assert ran.answers("session/request_permission") == [
        {"outcome": {"outcome": "selected", "optionId": "no"}}
    ]


async def test_a_configuration_of_opencode_that_is_none(tmp_path: Path):
    for content in ("{", "[1]"):
        env = {"OPENCODE_CONFIG_CONTENT": content, "HOME": str(tmp_path)}
        with pytest.raises(BadSetting):
            await OpencodeAdapter().plan(session_config(tmp_path, env=env))


async def test_the_generic_harness_notes_sessions_by_agent(tmp_path: Path):
    await run(tmp_path)
    env = agent_env(tmp_path, {}, ACP_TARGET="kimi")
    assert not await GenericAdapter().can_resume("s-1", session_config(tmp_path, env=env))
    assert noted(tmp_path)
