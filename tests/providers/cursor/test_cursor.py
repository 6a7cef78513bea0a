"""The harness cursor, with a program that replays synthetic streams: there is no package of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cli_fixture import cursor_fixture
from cli_replay import Player
from session_config import session_config

from agent_swarm_worker.conformance.suite import CHECKS, Check, is_kept
from agent_swarm_worker.contract import (
    Message,
    Plan,
    PlanStep,
    Reasoning,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.errors import BinaryMissing, CredentialsMissing
from agent_swarm_worker.providers.cursor.adapter import CursorAdapter
from agent_swarm_worker.providers.cursor.launch import with_effort
from agent_swarm_worker.providers.cursor.translate import CursorTranslator
from agent_swarm_worker.sandboxes.local import LocalGuest

pytestmark = pytest.mark.anyio
SCENARIO = pytest.mark.scenario

CHAT = "11111111-1111-4111-8111-111111111111"
PLAYER = Player(
    CursorAdapter(),
    Path(__file__).with_name("streams"),
    "CURSOR_BINARY",
    {"CURSOR_API_KEY": "key-0001"},
)
SERVERS = "cursor-home/.cursor/mcp.json"


@SCENARIO()
@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_the_contract(check: Check):
    assert await is_kept(check, "cursor", cursor_fixture)


@SCENARIO("answer", "dash")
async def test_an_answer_comes_in_pieces(tmp_path: Path):
    ran = await PLAYER.run(
        tmp_path, "synthetic_hello", prompt="--help me", system_prompt="Be kind."
    )
    assert not ran.result.is_error
    assert ran.result.output == "Hello from the model."
    assert [event.session_id for event in ran.of(SessionInit)] == [CHAT]
    assert [event.content for event in ran.of(Message)] == ["Hello from the model."]
    (start,) = ran.starts
    expected = "<system_instructions>\nBe kind.\n</system_instructions>\n\n--help me"
    assert start["stdin"] == expected
    for word in ("--print", "--force", "--trust", "--approve-mcps"):
        assert word in start["argv"]


async def test_a_thought_is_one_event(tmp_path: Path):
    assert (await PLAYER.run(tmp_path, "synthetic_hello")).of(Reasoning) == [
        Reasoning("They greet me.")
    ]


def test_a_plan_is_told():
    todos = [{"content": "Look", "status": "TODO_STATUS_COMPLETED"}, {"content": "Mend"}]
    call = {"updateTodosToolCall": {"args": {"todos": todos}}}
    event = {"type": "tool_call", "subtype": "started", "call_id": "c", "tool_call": call}
    (_, plan) = CursorTranslator(session_config()).feed(event)
    assert plan == Plan((PlanStep("Look", "completed"), PlanStep("Mend")))


async def test_tokens_are_known_and_the_price_is_not(tmp_path: Path):
    cost = (await PLAYER.run(tmp_path, "synthetic_hello")).result.cost
    assert cost is not None
    assert (cost.input_tokens, cost.cache_read_tokens, cost.output_tokens) == (1000, 3000, 70)
    assert cost.total_cost_usd is None
    assert (await PLAYER.run(tmp_path, "synthetic_no_usage")).result.cost is None


@pytest.mark.parametrize(
    ("name", "tool", "result", "is_error"),
    [
        pytest.param("shell", "shell", "hi\n", False, marks=SCENARIO("tool")),
        ("shell_fails", "shell", "no", True),
        pytest.param(
            "swarm_tool", "mcp__agent-swarm__store-progress", "stored", False, marks=SCENARIO("mcp")
        ),
        ("unknown_tool", "teleport", {"ok": True}, False),
    ],
)
async def test_a_tool_call(tmp_path: Path, name: str, tool: str, result: object, is_error: bool):
    ran = await PLAYER.run(tmp_path, f"synthetic_{name}")
    (start,), (end,) = ran.of(ToolStart), ran.of(ToolEnd)
    assert (start.tool_name, end.tool_name, end.tool_call_id) == (tool, tool, start.tool_call_id)
    assert (end.result, end.is_error) == (result, is_error)
    assert not ran.result.is_error


async def test_messages_are_not_told_again_by_the_result(tmp_path: Path):
    ran = await PLAYER.run(tmp_path, "synthetic_shell")
    assert [event.content for event in ran.of(Message)] == ["Working.", "It said hi."]
    assert ran.result.output == "It said hi."


async def test_parallel_calls_are_matched_by_id(tmp_path: Path):
    ran = await PLAYER.run(tmp_path, "synthetic_parallel")
    assert [(end.tool_call_id, end.is_error) for end in ran.of(ToolEnd)] == [
        ("c2", True),
        ("c1", False),
    ]


@pytest.mark.parametrize(
    ("name", "category"),
    [
        pytest.param("error_limit", "usage_limit", marks=SCENARIO("429")),
        pytest.param("no_key", "authentication_failed", marks=SCENARIO("401")),
        ("unknown_model", "model_not_found"),
        pytest.param("cut", "crashed", marks=SCENARIO("cut")),
    ],
)
async def test_errors_have_their_class(tmp_path: Path, name: str, category: str):
    ran = await PLAYER.run(tmp_path, f"synthetic_{name}")
    assert ran.result.is_error
    assert ran.result.error_category == category
    assert [event.is_error for event in ran.of(Result)] in ([True], [])
    assert (ran.result.rate_limit_reset_at is not None) == (name == "error_limit")


@SCENARIO("resume", "lost")
async def test_a_chat_is_resumed_and_a_lost_one_begun_afresh(tmp_path: Path):
    ran = await PLAYER.run(
        tmp_path,
        "synthetic_hello",
        resumed="synthetic_resumed",
        resume_session_id=CHAT,
        system_prompt="Be kind.",
        prompt="again",
    )
    assert ran.result.output == "Again."
    assert f"--resume={CHAT}" in ran.starts[0]["argv"]
    assert ran.starts[0]["stdin"] == "again", "the chat has the system prompt"
    other = tmp_path / "other"
    other.mkdir()
    ran = await PLAYER.run(
        other,
        "synthetic_hello",
        resumed="synthetic_resume_unknown",
        resume_session_id=CHAT,
        fresh_prompt="anew",
    )
    assert not ran.result.is_error
    assert [start["stdin"] for start in ran.starts] == ["do it", "anew"]


@pytest.mark.parametrize(
    ("model", "level", "name", "applied"),
    [
        ("gpt-5.4", "high", "gpt-5.4-high", "high"),
        ("gpt-5.4-fast", "xhigh", "gpt-5.4-xhigh-fast", "xhigh"),
        ("gpt-5.4", "medium", "gpt-5.4", "medium"),
        ("gpt-5.4-high", "low", "gpt-5.4-high", None),
        ("auto", "high", "auto", None),
        ("gpt-5.4", None, "gpt-5.4", None),
    ],
)
def test_an_effort_is_a_part_of_the_name(
    model: str, level: str | None, name: str, applied: str | None
):
    assert with_effort(model, level) == (name, applied)


async def test_the_servers_of_a_session_are_its_own_and_the_users_stay(tmp_path: Path):
    folder = tmp_path / "home/.cursor"
    folder.mkdir(parents=True)
    theirs = '{"mcpServers": {"theirs": {"url": "http://t"}}}'
    (folder / "mcp.json").write_text(theirs)
    (folder / "cli-config.json").write_text("{}")
    (tmp_path / "home/.gitconfig").write_text("")
    ran = await PLAYER.run(tmp_path, "synthetic_hello", api_key="swarm-key-0001", model="opus")
    (start,) = ran.starts
    mode, content = start["files"][SERVERS]
    entries = json.loads(content)["mcpServers"]
    assert mode == "0o600"
    assert entries["theirs"] == {"url": "http://t"}
    assert entries["agent-swarm"]["headers"] == {
        "X-Agent-ID": "agent-1",
        "X-Source-Task-Id": "task-1",
        "Authorization": "Bearer swarm-key-0001",
    }
    assert "swarm-key-0001" not in " ".join(start["argv"])
    assert start["argv"][start["argv"].index("--model") + 1] == "auto"
    own = tmp_path / "private/cursor-home"
    assert start["env"]["HOME"] == str(own)
    assert (own / ".gitconfig").resolve() == tmp_path / "home/.gitconfig"
    assert (own / ".cursor/cli-config.json").resolve() == folder / "cli-config.json"
    assert (own / ".cursor/chats").resolve() == folder / "chats", "chats outlive the session"
    assert (folder / "mcp.json").read_text() == theirs


async def test_a_chat_with_a_record_can_be_resumed(tmp_path: Path):
    folder = tmp_path / ".cursor/chats/0123" / CHAT
    folder.mkdir(parents=True)
    config = session_config(tmp_path, env={"HOME": str(tmp_path)})
    assert not await CursorAdapter().can_resume(CHAT, config)
    (folder / "store.db").write_text("x")
    assert await CursorAdapter().can_resume(CHAT, config)
    assert not await CursorAdapter().can_resume(CHAT.replace("1", "2"), config)


async def test_what_is_missing_is_told(tmp_path: Path):
    adapter, guest = CursorAdapter(), LocalGuest("check")
    env = {"CURSOR_BINARY": f"{sys.executable} -m x", "HOME": str(tmp_path)}
    with pytest.raises(CredentialsMissing, match="CURSOR_API_KEY"):
        await adapter.check(env, guest)
    await adapter.check({**env, "CURSOR_API_KEY": "k"}, guest)
    with pytest.raises(BinaryMissing, match="cursor-agent"):
        await adapter.check({"CURSOR_API_KEY": "k", "PATH": "/nowhere"}, guest)
