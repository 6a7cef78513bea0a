"""The harness gemini, with a program that replays recordings of the real CLI."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_replay import Player
from session_config import session_config

from agent_swarm_worker.contract import (
    Ending,
    McpServer,
    Message,
    Plan,
    PlanStep,
    Progress,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.errors import BadSetting, BinaryMissing, CredentialsMissing
from agent_swarm_worker.providers.gemini.adapter import GeminiAdapter
from agent_swarm_worker.providers.gemini.translate import GeminiTranslator
from agent_swarm_worker.sandboxes.local import LocalGuest

pytestmark = pytest.mark.anyio

STREAMS = Path(__file__).with_name("streams")
SESSION = "11111111-1111-4111-8111-111111111111"
PLAYER = Player(GeminiAdapter(), STREAMS, "GEMINI_BINARY", {"GEMINI_API_KEY": "AIza-0001"})
SETTINGS = "gemini-home/.gemini/settings.json"
NOTES = "gemini-home/.gemini/GEMINI.md"


def settings_of(start: dict[str, Any]) -> dict[str, Any]:
    mode, content = start["files"][SETTINGS]
    assert mode == "0o600"
    return dict(json.loads(content))


def translated(*events: dict[str, Any]) -> tuple[GeminiTranslator, list[Any]]:
    translator = GeminiTranslator(session_config())
    return translator, [found for event in events for found in translator.feed(event)]


async def test_an_answer(tmp_path: Path):
    ran = await PLAYER.run(tmp_path, "hello", prompt="--help me", model="gemini-2.5-pro")
    assert not ran.result.is_error
    assert ran.result.output == "Hello from the model."
    assert [event.session_id for event in ran.of(SessionInit)] == [SESSION]
    assert [event.content for event in ran.of(Message)] == ["Hello from the model."]
    assert ran.result.session_id == ran.session.session_id == SESSION
    (start,) = ran.starts
    assert start["stdin"] == "--help me"
    assert "--model=gemini-2.5-pro" in start["argv"]
    assert not (tmp_path / "private" / SETTINGS).exists(), "private files are gone"


async def test_the_cost_is_that_of_all_tokens_thoughts_included(tmp_path: Path):
    cost = (await PLAYER.run(tmp_path, "hello")).result.cost
    assert cost is not None
    assert (cost.input_tokens, cost.cache_read_tokens) == (1000, 3000)
    assert (cost.output_tokens, cost.reasoning_output_tokens) == (70, 20)
    assert cost.model == "gemini-2.5-pro"
    assert cost.provider == "gemini"
    assert cost.total_cost_usd is not None
    assert 0 < cost.total_cost_usd < 0.1


def test_a_secret_in_pieces_is_scrubbed():
    config = session_config()
    config.redactor.add("SECRET", "hush-hush-0123456789")
    translator = GeminiTranslator(config)
    piece = {"type": "message", "role": "assistant", "delta": True}
    for content in ("It is hush-hu", "sh-0123456789."):
        translator.feed({**piece, "content": content})
    (message, result) = translator.feed({"type": "result", "status": "success"})
    for text in (message.content, result.output, translator.conclude(Ending(exit_code=0)).output):
        assert "hush" not in text


def test_an_unknown_price_is_not_zero():
    stats = {
        "models": {"gemini-of-tomorrow": {"total_tokens": 9, "input_tokens": 5, "output_tokens": 4}}
    }
    translator, _ = translated({"type": "result", "status": "success", "stats": stats})
    cost = translator.conclude(Ending(exit_code=0)).cost
    assert cost is not None
    assert cost.total_cost_usd is None
    assert cost.output_tokens == 4


async def test_a_tool_call(tmp_path: Path):
    ran = await PLAYER.run(tmp_path, "bash")
    (start,), (end,) = ran.of(ToolStart), ran.of(ToolEnd)
    assert (start.tool_name, start.args) == ("run_shell_command", {"command": "echo hi"})
    assert (end.tool_call_id, end.tool_name, end.result) == (
        start.tool_call_id,
        start.tool_name,
        "hi",
    )
    assert [event.content for event in ran.of(Message)] == ["Working.", "It said hi."]


def test_a_plan_is_told():
    todos = {"todos": [{"description": "Look", "status": "in_progress"}]}
    call = {"type": "tool_use", "tool_name": "write_todos", "tool_id": "t", "parameters": todos}
    _, events = translated(call)
    assert events[1] == Plan((PlanStep("Look", "in_progress"),))


async def test_a_tool_that_does_not_exist_is_an_error(tmp_path: Path):
    (end,) = (await PLAYER.run(tmp_path, "no_such_tool")).of(ToolEnd)
    assert end.is_error
    assert "not found" in end.result


async def test_a_tool_of_the_swarm_has_its_usual_name(tmp_path: Path):
    (start,) = (await PLAYER.run(tmp_path, "swarm_tool")).of(ToolStart)
    assert start.tool_name == "mcp__agent-swarm__store-progress"


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("error_401", "authentication_failed"),
        ("error_429", "rate_limit"),
        ("error_500", "server_error"),
        ("error_too_long", "context_overflow"),
        ("cut", "network"),
        ("no_key", "authentication_failed"),
    ],
)
async def test_errors_have_their_class(tmp_path: Path, name: str, category: str):
    ran = await PLAYER.run(tmp_path, name)
    assert ran.result.is_error
    assert ran.result.error_category == category
    assert ran.result.cost is None, "nothing is known of it, which is not 0"
    assert "{" not in (ran.result.failure_reason or "")
    assert [event.is_error for event in ran.of(Result)] in ([True], [])


async def test_the_end_of_a_limit_is_known(tmp_path: Path):
    assert (await PLAYER.run(tmp_path, "error_429")).result.rate_limit_reset_at is not None


async def test_an_exit_without_a_result_is_a_failure(tmp_path: Path):
    assert json.loads((STREAMS / "exit_codes.json").read_text())["aborted"] == 0
    ran = await PLAYER.run(tmp_path, "aborted")
    assert ran.result.is_error
    assert ran.result.error_category == "crashed"


async def test_a_session_is_resumed_and_a_lost_one_begun_afresh(tmp_path: Path):
    ran = await PLAYER.run(tmp_path, "hello", resumed="resumed", resume_session_id=SESSION)
    assert ran.result.output == "Again."
    assert f"--resume={SESSION}" in ran.starts[0]["argv"]

    other = tmp_path / "other"
    other.mkdir()
    ran = await PLAYER.run(
        other, "hello", resumed="resume_unknown", resume_session_id=SESSION, fresh_prompt="anew"
    )
    assert not ran.result.is_error
    first, second = ran.starts
    assert f"--resume={SESSION}" in first["argv"]
    assert not any("resume" in word for word in second["argv"])
    assert second["stdin"] == "anew"


def test_a_failed_attempt_is_told_and_is_the_reason_of_a_late_end():
    translator, _ = translated({"type": "init", "session_id": SESSION, "model": "m"})
    lines = (
        "Attempt 1 failed: Resource has been exhausted (e.g. check quota).",
        "Suggested retry after 2s.. Retrying after 5112ms...",
    )
    events = [found for line in lines for found in translator.feed_stderr(line)]
    assert [event.message for event in events if isinstance(event, Progress)] == [
        "Model API: Resource has been exhausted (e.g. check quota).; retry in 5 s"
    ]
    assert translator.conclude(Ending(exit_code=143)).error_category == "rate_limit"


def test_a_result_that_cannot_be_read_is_no_success():
    translator, _ = translated({"type": "init", "session_id": SESSION, "model": "m"})
    translator.feed_text('{"type":"result","status":"succ')
    assert translator.conclude(Ending(exit_code=0)).is_error


async def test_settings_of_a_session_are_its_own_and_the_users_stay(tmp_path: Path):
    folder = tmp_path / "home/.gemini"
    folder.mkdir(parents=True)
    theirs = """{
      // "mcpServers": {},
      "mcpServers": {"theirs": {"httpUrl": "http://t/*",
          "headers": {"Authorization": "Bearer theirs-0001"}}},
      "context": {"fileName": "AGENTS.md",},
      "security": {"auth": {"selectedType": "oauth-personal"}},
    }"""
    (folder / "settings.json").write_text(theirs)
    (folder / "GEMINI.md").write_text("Their notes.")
    (folder / "oauth_creds.json").write_text("{}")
    servers = (
        McpServer(name="web", transport="sse", url="http://w", headers={"Authorization": "a$HOME"}),
        McpServer(name="local", transport="stdio", command="run", args=("x",), env={"A": "b"}),
    )
    ran = await PLAYER.run(
        tmp_path,
        "hello",
        system_prompt="Ask @bob, not a@b.c.",
        mcp_servers=servers,
        reasoning_effort="max",
        api_key="swarm-key-0001",
    )
    (start,) = ran.starts
    settings = settings_of(start)
    assert set(settings["mcpServers"]) == {"theirs", "agent-swarm", "web", "local"}
    ours = settings["mcpServers"]["agent-swarm"]
    assert ours["headers"] == {
        "X-Agent-ID": "agent-1",
        "X-Source-Task-Id": "task-1",
        "Authorization": "Bearer swarm-key-0001",
    }
    web = settings["mcpServers"]["web"]["headers"]["Authorization"]
    assert start["env"][web.strip("${}")] == "a$HOME", "the CLI puts in variables"
    assert settings["mcpServers"]["local"]["env"] == {"A": "b"}
    assert settings["context"]["fileName"] == ["AGENTS.md", "GEMINI.md"]
    assert settings["security"]["auth"]["selectedType"] == "gemini-api-key"
    overrides = json.dumps(settings["modelConfigs"])
    assert "24576" in overrides
    assert "HIGH" in overrides
    assert ran.result.applied_reasoning_effort == "high"
    assert start["files"][NOTES] == ["0o600", "Their notes.\n\nAsk \\@bob, not a@b.c."]
    assert start["env"]["GEMINI_CLI_HOME"] == str(tmp_path / "private/gemini-home")
    assert (tmp_path / "private/gemini-home/.gemini/oauth_creds.json").resolve() == (
        folder / "oauth_creds.json"
    )
    records = tmp_path / "private/gemini-home/.gemini/tmp"
    assert records.resolve() == folder / "tmp", "records outlive the session"
    assert (folder / "settings.json").read_text() == theirs
    assert (folder / "GEMINI.md").read_text() == "Their notes."
    assert "swarm-key-0001" not in shlex.join(start["argv"])


async def test_a_login_counts_and_its_kind_is_the_users(tmp_path: Path):
    env = {"GEMINI_API_KEY": ""}
    with pytest.raises(CredentialsMissing):
        await PLAYER.run(tmp_path, "hello", env=env)
    folder = tmp_path / "home/.gemini"
    folder.mkdir(parents=True)
    (folder / "oauth_creds.json").write_text("{}")
    (start,) = (await PLAYER.run(tmp_path, "hello", env=env)).starts
    assert "security" not in settings_of(start)


async def test_what_is_missing_is_told():
    adapter, guest = GeminiAdapter(), LocalGuest("check")
    env = {"GEMINI_BINARY": f"{sys.executable} -m x", "HOME": "/nowhere"}
    with pytest.raises(CredentialsMissing, match="GEMINI_API_KEY"):
        await adapter.check(env, guest)
    await adapter.check({**env, "GEMINI_API_KEY": "k"}, guest)
    vertex = {"GOOGLE_GENAI_USE_VERTEXAI": "true", "GOOGLE_CLOUD_PROJECT": "p"}
    await adapter.check(env | vertex, guest)
    with pytest.raises(BinaryMissing, match="gemini-is-not-here"):
        await adapter.check({**env, "GEMINI_BINARY": "gemini-is-not-here"}, guest)
    with pytest.raises(BadSetting, match="GEMINI_BINARY"):
        await adapter.check({**env, "GEMINI_BINARY": "'open"}, guest)


async def test_a_session_can_be_resumed_where_it_ran(tmp_path: Path):
    chats = tmp_path / ".gemini/tmp/work/chats"
    chats.mkdir(parents=True)
    (chats / "session-2026-11-20T12-00-11111111.jsonl").write_text("{}\n")
    config = session_config(tmp_path, env={"HOME": str(tmp_path)})
    adapter = GeminiAdapter()
    assert not await adapter.can_resume(SESSION, config), "of which directory is unknown"
    (chats.parent / ".project_root").write_text(str(config.cwd))
    assert await adapter.can_resume(SESSION, config)
    assert not await adapter.can_resume("22222222-1111-4111-8111-111111111111", config)
    (chats.parent / ".project_root").write_text("/elsewhere")
    assert not await adapter.can_resume(SESSION, config)
