"""The harness amp, with a program that replays synthetic streams: its server is private."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_fixture import amp_fixture
from cli_replay import Player
from session_config import session_config

from agent_swarm_worker.conformance.suite import CHECKS, Check, is_kept
from agent_swarm_worker.contract import (
    ContextUsage,
    Error,
    McpServer,
    Message,
    Reasoning,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.errors import BinaryMissing, CredentialsMissing
from agent_swarm_worker.providers.amp.adapter import AmpAdapter
from agent_swarm_worker.sandboxes.local import LocalGuest

pytestmark = pytest.mark.anyio
SCENARIO = pytest.mark.scenario

THREAD = "T-11111111-1111-4111-8111-111111111111"
PLAYER = Player(
    AmpAdapter(), Path(__file__).with_name("streams"), "AMP_BINARY", {"AMP_API_KEY": "sgamp-0001"}
)
SETTINGS = "amp-config/amp/settings.json"
PLUGIN = "amp-config/amp/plugins/agent-swarm.ts"


@SCENARIO()
@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_the_contract(check: Check):
    assert await is_kept(check, "amp", amp_fixture)


@SCENARIO("answer", "dash")
async def test_an_answer(tmp_path: Path):
    ran = await PLAYER.run(tmp_path, "synthetic_hello", prompt="--help me")
    assert not ran.result.is_error
    assert ran.result.output == "Hello from the model."
    assert [event.session_id for event in ran.of(SessionInit)] == [THREAD]
    assert [event.content for event in ran.of(Message)] == ["Hello from the model."]
    assert ran.of(Reasoning) == [Reasoning("They greet me.")]
    (start,) = ran.starts
    assert start["stdin"] == "--help me"
    assert start["argv"] == ["--execute", "--stream-json-thinking", "--no-ide", "--mode", "medium"]
    assert not (tmp_path / "private" / SETTINGS).exists(), "private files are gone"


async def test_tokens_are_known_and_the_price_is_not(tmp_path: Path):
    ran = await PLAYER.run(tmp_path, "synthetic_bash", model="opus")
    cost = ran.result.cost
    assert cost is not None
    assert (cost.input_tokens, cost.cache_write_tokens) == (20, 1980)
    assert (cost.cache_read_tokens, cost.output_tokens, cost.num_turns) == (6000, 100, 2)
    assert cost.total_cost_usd is None
    assert cost.model == "high"
    usage = ran.of(ContextUsage)[-1]
    assert (usage.context_used_tokens, usage.context_total_tokens) == (4050, 168_000)


@SCENARIO("tool")
@pytest.mark.parametrize(
    ("name", "result", "is_error"),
    [("synthetic_bash", "hi\n", False), ("synthetic_bash_fails", "", True)],
)
async def test_a_command(tmp_path: Path, name: str, result: str, is_error: bool):
    ran = await PLAYER.run(tmp_path, name)
    (start,), (end,) = ran.of(ToolStart), ran.of(ToolEnd)
    assert (end.tool_call_id, end.tool_name) == (start.tool_call_id, "Bash")
    assert (end.result, end.is_error) == (result, is_error)
    assert not ran.result.is_error


async def test_a_subagent_is_marked(tmp_path: Path):
    ran = await PLAYER.run(tmp_path, "synthetic_subagent")
    inner = next(event for event in ran.of(ToolStart) if event.tool_name == "Read")
    assert (inner.helper.id, inner.helper.name) == ("toolu_1", "look around")
    said = {event.content: event.subagent for event in ran.of(Message)}
    assert said == {"Report of the subagent.": True, "Done.": False}
    assert ran.result.output == "Done."


async def test_a_server_that_failed_is_told(tmp_path: Path):
    (error,) = (await PLAYER.run(tmp_path, "synthetic_server_failed")).of(Error)
    assert error == Error("MCP server web cannot be reached", "mcp_failed")


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("error_credit", "billing_error"),
        pytest.param("error_429", "rate_limit", marks=SCENARIO("429")),
        pytest.param("no_key", "authentication_failed", marks=SCENARIO("401")),
        pytest.param("offline", "network", marks=SCENARIO("refused")),
        pytest.param("cut", "crashed", marks=SCENARIO("cut")),
    ],
)
async def test_errors_have_their_class(tmp_path: Path, name: str, category: str):
    ran = await PLAYER.run(tmp_path, f"synthetic_{name}")
    assert ran.result.is_error
    assert ran.result.error_category == category
    assert [event.is_error for event in ran.of(Result)] in ([True], [])
    assert (ran.result.rate_limit_reset_at is not None) == (name == "error_429")


@SCENARIO("resume", "lost")
async def test_a_thread_is_continued_and_a_lost_one_begun_afresh(tmp_path: Path):
    ran = await PLAYER.run(
        tmp_path, "synthetic_hello", resumed="synthetic_resumed", resume_session_id=THREAD
    )
    assert ran.result.output == "Again."
    assert ran.starts[0]["argv"][:4] == ["threads", "continue", THREAD, "--execute"]
    other = tmp_path / "other"
    other.mkdir()
    ran = await PLAYER.run(
        other,
        "synthetic_hello",
        resumed="synthetic_resume_unknown",
        resume_session_id=THREAD,
        fresh_prompt="anew",
    )
    assert not ran.result.is_error
    assert [start["argv"][0] for start in ran.starts] == ["threads", "--execute"]
    assert ran.starts[1]["stdin"] == "anew"


async def test_only_a_thread_can_be_resumed():
    adapter, config = AmpAdapter(), session_config()
    assert await adapter.can_resume(THREAD, config)
    assert not await adapter.can_resume(THREAD.removeprefix("T-"), config)


def agent_of(start: dict[str, Any]) -> dict[str, Any]:
    mode, content = start["files"][PLUGIN]
    assert mode == "0o600"
    head, line = content.splitlines()[:2]
    key = json.loads(head.removeprefix("// @amp-agent-mode "))["key"]
    assert start["argv"][start["argv"].index("--mode") + 1] == key
    return dict(json.loads(line.removeprefix("const agent = ").removesuffix(";")))


async def test_a_system_prompt_a_model_and_an_effort_are_a_mode_of_a_plugin(tmp_path: Path):
    (start,) = (
        await PLAYER.run(
            tmp_path,
            "synthetic_hello",
            model="anthropic/claude-sonnet-5",
            system_prompt='Be "kind".\n`${x}`',
            reasoning_effort="off",
        )
    ).starts
    assert agent_of(start) == {
        "extends": "medium",
        "model": "anthropic/claude-sonnet-5",
        "instructions": 'Be "kind".\n`${x}`',
        "reasoningEffort": "none",
    }


@SCENARIO("mcp")
async def test_settings_of_a_session_are_its_own_and_the_users_stay(tmp_path: Path):
    folder = tmp_path / "home/.config/amp"
    (folder / "plugins").mkdir(parents=True)
    theirs = '{"amp.proxy": "http://p", "amp.mcpServers": {"theirs": {"command": "x"}},}'
    (folder / "settings.json").write_text(theirs)
    (folder / "plugins/theirs.ts").write_text("export default () => {}")
    (folder.parent / "git").mkdir()
    servers = (
        McpServer(name="web", transport="sse", url="http://w"),
        McpServer(name="local", transport="stdio", command="run", env={"A": "b"}),
    )
    ran = await PLAYER.run(
        tmp_path,
        "synthetic_hello",
        mcp_servers=servers,
        system_prompt="Be kind.",
        api_key="swarm-key-0001",
    )
    (start,) = ran.starts
    mode, content = start["files"][SETTINGS]
    settings = json.loads(content)
    assert (mode, settings["amp.proxy"]) == ("0o600", "http://p")
    assert settings["amp.dangerouslyAllowAll"] is True
    entries = settings["amp.mcpServers"]
    assert set(entries) == {"theirs", "agent-swarm", "local"}, "it has no other transport"
    assert entries["agent-swarm"]["headers"] == {
        "X-Agent-ID": "agent-1",
        "X-Source-Task-Id": "task-1",
        "Authorization": "Bearer swarm-key-0001",
    }
    assert "swarm-key-0001" not in " ".join(start["argv"])
    own = tmp_path / "private/amp-config"
    assert start["env"]["XDG_CONFIG_HOME"] == str(own)
    assert (own / "git").resolve() == folder.parent / "git"
    assert (own / "amp/plugins/theirs.ts").resolve() == folder / "plugins/theirs.ts"
    assert (folder / "settings.json").read_text() == theirs
    assert [path.name for path in (folder / "plugins").iterdir()] == ["theirs.ts"]


async def test_what_is_missing_is_told(tmp_path: Path):
    adapter, guest = AmpAdapter(), LocalGuest("check")
    env = {"AMP_BINARY": f"{sys.executable} -m x", "HOME": str(tmp_path)}
    with pytest.raises(CredentialsMissing, match="AMP_API_KEY"):
        await adapter.check(env, guest)
    (tmp_path / ".local/share/amp").mkdir(parents=True)
    (tmp_path / ".local/share/amp/secrets.json").write_text("{}")
    await adapter.check(env, guest)
    with pytest.raises(BinaryMissing, match="amp-is-not-here"):
        await adapter.check({**env, "AMP_BINARY": "amp-is-not-here"}, guest)
