"""The harness pi-cli, with a program that replays recordings of the real one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_replay import Player
from session_config import session_config

from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    Ending,
    Error,
    McpServer,
    Message,
    Progress,
    Reasoning,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.errors import BinaryMissing, CredentialsMissing, ProviderError
from agent_swarm_worker.providers.kit.conversation import SteerRequest
from agent_swarm_worker.providers.pi_cli.adapter import PiCliAdapter
from agent_swarm_worker.providers.pi_cli.conversation import PiConversation
from agent_swarm_worker.providers.pi_cli.launch import pi_launch
from agent_swarm_worker.sandboxes.local import LocalGuest

pytestmark = pytest.mark.anyio

STREAMS = Path(__file__).with_name("streams")
SESSION = "11111111-1111-4111-8111-111111111111"
PLAYER = Player(
    PiCliAdapter(), STREAMS, "PI_CLI_BINARY", {"OPENAI_API_KEY": "sk-0001"}, until='"prompt"'
)


def natives(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (STREAMS / f"{name}.jsonl").read_text().splitlines()]


def written(conversation: PiConversation) -> list[dict[str, Any]]:
    return [json.loads(line) for line in conversation.outgoing().splitlines()]


async def test_an_answer(tmp_path: Path):
    ran = await PLAYER.run(
        tmp_path, "hello", prompt="--help me", model="scripted/scripted-1", system_prompt="Be kind."
    )
    assert not ran.result.is_error
    assert ran.result.output == "Hello from the model."
    assert [event.session_id for event in ran.of(SessionInit)] == [SESSION]
    assert [event.content for event in ran.of(Message)] == ["Hello from the model."]
    (start,) = ran.starts
    asked = [json.loads(line) for line in start["stdin"].splitlines()]
    assert [line["type"] for line in asked] == ["get_state", "prompt"]
    assert asked[1]["message"] == "--help me"
    assert start["argv"][:2] == ["--mode", "rpc"]
    assert start["files"]["system-prompt.md"] == ["0o600", "Be kind."]
    assert list((tmp_path / "private").iterdir()) == []


async def test_cost_and_context_are_the_programs(tmp_path: Path):
    ran = await PLAYER.run(tmp_path, "bash")
    cost = ran.result.cost
    assert cost is not None
    assert (cost.input_tokens, cost.output_tokens, cost.num_turns) == (200, 20, 2)
    assert cost.total_cost_usd == pytest.approx(0.00024)
    assert (cost.model, cost.provider) == ("scripted/scripted-1", "pi-cli")
    usage = ran.of(ContextUsage)[-1]
    assert (usage.context_used_tokens, usage.context_total_tokens) == (110, 128_000)


def test_a_price_of_zero_is_an_unknown_one():
    translator = PiConversation(session_config())
    usage = {"input": 5, "output": 4, "cost": {"total": 0}}
    message = {"role": "assistant", "model": "of-tomorrow", "usage": usage, "stopReason": "stop"}
    for event in ({"type": "message_end", "message": message}, {"type": "agent_settled"}):
        translator.feed(event)
    cost = translator.conclude(Ending(exit_code=0)).cost
    assert cost is not None
    assert cost.total_cost_usd is None


async def test_a_tool_call(tmp_path: Path):
    ran = await PLAYER.run(tmp_path, "bash")
    (start,), (end,) = ran.of(ToolStart), ran.of(ToolEnd)
    assert (start.tool_name, start.args) == ("bash", {"command": "echo hi"})
    assert (end.tool_call_id, end.tool_name) == (start.tool_call_id, "bash")
    assert (end.result, end.is_error) == ("hi\n", False)


@pytest.mark.parametrize("name", ["bash_fails", "no_such_tool"])
async def test_a_tool_that_fails_is_an_error(tmp_path: Path, name: str):
    (end,) = (await PLAYER.run(tmp_path, name)).of(ToolEnd)
    assert end.is_error


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
        ("unknown_model", "model_not_found"),
        ("aborted", "interrupted"),
    ],
)
async def test_errors_have_their_class(tmp_path: Path, name: str, category: str):
    ran = await PLAYER.run(tmp_path, name)
    assert ran.result.is_error
    assert ran.result.error_category == category
    assert [event.is_error for event in ran.of(Result)] in ([True], [])


async def test_the_end_of_a_limit_is_known(tmp_path: Path):
    assert (await PLAYER.run(tmp_path, "error_429")).result.rate_limit_reset_at is not None


async def test_a_session_is_resumed_and_a_lost_one_begun_afresh(tmp_path: Path):
    ran = await PLAYER.run(tmp_path, "hello", resumed="resumed", resume_session_id=SESSION)
    assert ran.result.output == "Again."
    assert ran.starts[0]["argv"][-2:] == ["--session", SESSION]
    forked = pi_launch(session_config(tmp_path, resume_session_id=SESSION, forks=True))
    assert forked.argv[-2:] == ("--fork", SESSION)
    other = tmp_path / "other"
    other.mkdir()
    ran = await PLAYER.run(
        other, "hello", resumed="resume_unknown", resume_session_id=SESSION, fresh_prompt="anew"
    )
    assert not ran.result.is_error
    first, second = ran.starts
    assert "--session" in first["argv"]
    assert "--session" not in second["argv"]
    assert "anew" in second["stdin"]


@pytest.mark.parametrize(("name", "mode"), [("steered", "steer"), ("queued", "queue")])
def test_a_message_counts_when_the_program_has_taken_it(name: str, mode: Any):
    conversation, request = PiConversation(session_config()), SteerRequest(mode, "By the way.")
    written(conversation)
    conversation.steer(request)
    assert written(conversation) == [], "before the run begins it waits"
    states: list[tuple[str, bool]] = []
    for line in natives(name):
        conversation.feed(line)
        states.append((line["type"], request.delivery is not None))
        if line["type"] == "agent_start":
            (command,) = written(conversation)
            assert command["message"] == "By the way."
            assert command["type"] == ("steer" if mode == "steer" else "follow_up")
    assert request.delivery is not None
    assert request.delivery.delivered
    assert request.delivery.mode == mode
    first = next(index for index, (_, is_known) in enumerate(states) if is_known)
    assert states[first][0] == "message_start"
    assert ("tool_execution_end", False) in states[:first]


def test_a_message_that_was_not_taken_is_refused():
    conversation, request = PiConversation(session_config()), SteerRequest("steer", "Hm.")
    conversation.feed({"type": "agent_start"})
    conversation.steer(request)
    conversation.feed({"type": "agent_settled"})
    late = SteerRequest("queue", "Too late.")
    conversation.steer(late)
    for one in (request, late):
        assert one.delivery is not None
        assert not one.delivery.delivered


def test_the_program_is_told_to_stop():
    conversation = PiConversation(session_config())
    written(conversation)
    assert conversation.interrupt()
    assert [line["type"] for line in written(conversation)] == ["abort"]


def test_a_question_of_an_extension_is_answered():
    conversation = PiConversation(session_config())
    written(conversation)
    conversation.feed({"type": "extension_ui_request", "id": "u", "method": "confirm"})
    conversation.feed({"type": "extension_ui_request", "id": "v", "method": "notify"})
    answer = {"type": "extension_ui_response", "id": "u", "cancelled": True}
    assert written(conversation) == [answer]


def test_retries_compaction_and_reasoning_are_told():
    conversation = PiConversation(session_config())
    retry = {"attempt": 1, "maxAttempts": 3, "delayMs": 2000, "errorMessage": "429: slow down"}
    thought = {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}]}
    lines = (
        {"type": "auto_retry_start", **retry},
        {"type": "compaction_end", "reason": "overflow", "result": {"tokensBefore": 9}},
        {"type": "message_end", "message": thought},
    )
    events = [event for line in lines for event in conversation.feed(line)]
    assert events[0] == Progress("Model API: 429: slow down; retry 1 of 3 in 2 s")
    assert events[1] == Compaction(9, "auto", None)
    assert events[2:] == [Reasoning("Hm.")]


def test_a_server_that_cannot_be_reached_is_told():
    line = "MCP server web cannot be reached: fetch failed"
    assert list(PiConversation(session_config()).feed_stderr(line)) == [Error(line, "mcp_failed")]


async def test_the_tool_servers_are_in_a_private_file(tmp_path: Path):
    servers = (
        McpServer(name="web", transport="http", url="http://w", headers={"A": "b"}),
        McpServer(name="local", transport="stdio", command="run"),
    )
    ran = await PLAYER.run(tmp_path, "hello", mcp_servers=servers, api_key="swarm-key-0001")
    (start,) = ran.starts
    mode, content = start["files"]["mcp.json"]
    assert mode == "0o600"
    entries = json.loads(content)["mcpServers"]
    assert set(entries) == {"agent-swarm", "web"}, "the program has no other transport"
    assert entries["agent-swarm"]["headers"] == {
        "X-Agent-ID": "agent-1",
        "X-Source-Task-Id": "task-1",
        "Authorization": "Bearer swarm-key-0001",
    }
    assert "swarm-key-0001" not in " ".join(start["argv"])
    assert start["env"]["SWARM_PI_MCP"] == str(tmp_path / "private/mcp.json")


async def test_what_is_missing_is_told(tmp_path: Path):
    adapter, guest = PiCliAdapter(), LocalGuest("check")
    env = {"PI_CLI_BINARY": f"{sys.executable} -m x", "HOME": str(tmp_path)}
    with pytest.raises(CredentialsMissing, match="OPENROUTER_API_KEY"):
        await adapter.check(env, guest)
    await adapter.check({**env, "GROQ_API_KEY": "k"}, guest)
    (tmp_path / "models.json").write_text("{}")
    await adapter.check({**env, "PI_CODING_AGENT_DIR": str(tmp_path)}, guest)
    with pytest.raises(BinaryMissing, match="pi-is-not-here"):
        await adapter.check({**env, "PI_CLI_BINARY": "", "PI_BINARY": "pi-is-not-here"}, guest)
    config = session_config(tmp_path, prompt=" ", env={"OPENAI_API_KEY": "k"})
    with pytest.raises(ProviderError, match="no prompt"):
        await adapter.create_session(config)


async def test_a_session_can_be_resumed_where_it_ran(tmp_path: Path):
    folder = tmp_path / ".pi/agent/sessions/--work--"
    folder.mkdir(parents=True)
    config = session_config(tmp_path, env={"HOME": str(tmp_path)})
    record = folder / f"2026-11-20T12-00-00-000Z_{SESSION}.jsonl"
    record.write_text(json.dumps({"type": "session", "cwd": str(config.cwd)}) + "\n")
    adapter = PiCliAdapter()
    assert await adapter.can_resume(SESSION, config)
    assert not await adapter.can_resume("22222222-1111-4111-8111-111111111111", config)
    for content in ('{"type":"session","cwd":"/elsewhere"}\n', "no JSON"):
        record.write_text(content)
        assert not await adapter.can_resume(SESSION, config)
