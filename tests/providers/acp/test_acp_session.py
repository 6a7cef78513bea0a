"""The course of a session with an agent that behaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from acp_rig import agent_env, make_session, noted, run
from session_config import session_config

from agent_swarm_worker.contract import (
    ContextUsage,
    McpServer,
    Message,
    Plan,
    PlanStep,
    Progress,
    Reasoning,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.errors import BadSetting, BinaryMissing
from agent_swarm_worker.providers.acp.adapter import GenericAdapter
from agent_swarm_worker.providers.acp.target import Target
from agent_swarm_worker.sandboxes.local import LocalGuest

pytestmark = pytest.mark.anyio

SWARM = "mcp__agent-swarm__"
MODES = {
    "modes": {
        "currentModeId": "ask",
        "availableModes": [{"id": "plan"}, {"id": "ask"}, {"id": "yolo"}],
    }
}
MODEL = {
    "id": "model",
    "category": "model",
    "type": "select",
    "currentValue": "m-1",
    "options": [
        {"value": "m-1", "name": "One"},
        {"group": "g", "options": [{"value": "acme/m-2", "name": "Two"}]},
    ],
}


def select(option_id: str, *values: str, **more: Any) -> dict[str, Any]:
    options = [{"value": value} for value in values]
    return {
        "id": option_id,
        "type": "select",
        "currentValue": values[0],
        "options": options,
        **more,
    }


async def test_an_answer(tmp_path: Path):
    ran = await run(tmp_path, {"prompt": [["pieces", "The heron stands."]]})
    assert (ran.result.is_error, ran.result.output) == (False, "The heron stands.")
    assert [message.content for message in ran.of(Message)] == ["The heron stands."]
    (begun,) = ran.of(SessionInit)
    assert (begun.session_id, ran.result.session_id) == ("s-1", "s-1")
    assert begun.harness_variant_meta == {"version": "1.2"}
    assert ran.order == ["initialize", "session/new", "session/prompt"]
    assert ran.log[-1] == {"end": "input"}, "its input was closed, and no signal was needed"
    assert ran.result.cost is None, "unknown is not 0"


async def test_text_around_tools_thoughts_and_plans(tmp_path: Path):
    call = {"toolCallId": "c1", "title": "bash", "kind": "execute"}
    steps = [
        ["think", "Let me "],
        ["think", "see."],
        ["say", "First."],
        ["update", {"sessionUpdate": "tool_call", "status": "pending", "rawInput": {}, **call}],
        [
            "update",
            {
                "sessionUpdate": "tool_call_update",
                "toolCallId": "c1",
                "status": "in_progress",
                "rawInput": {"command": "ls"},
            },
        ],
        [
            "update",
            {
                "sessionUpdate": "tool_call_update",
                "toolCallId": "c1",
                "status": "completed",
                "content": [{"type": "content", "content": {"type": "text", "text": "a\nb"}}],
                "rawOutput": {"metadata": {"exit": 3}},
            },
        ],
        [
            "update",
            {"sessionUpdate": "plan", "entries": [{"content": "Look"}]},
        ],
        ["say", "Last."],
    ]
    ran = await run(tmp_path, {"prompt": steps})
    (start,), (end,) = ran.of(ToolStart), ran.of(ToolEnd)
    assert (start.tool_call_id, start.tool_name, start.args) == ("c1", "bash", {"command": "ls"})
    assert (end.tool_name, end.result, end.is_error) == ("bash", "a\nb", True)
    assert [message.content for message in ran.of(Message)] == ["First.", "Last."]
    assert ran.of(Reasoning)[0].content == "Let me see."
    assert ran.of(Plan)[0].steps == (PlanStep("Look"),)
    assert ran.result.output == "Last."


@pytest.mark.parametrize(
    ("call", "name", "args"),
    [
        (
            {"title": "agent-swarm_store-progress", "rawInput": {"a": 1}},
            SWARM + "store-progress",
            {"a": 1},
        ),
        ({"title": "agent-swarm___get-tasks", "rawInput": {"a": 1}}, SWARM + "get-tasks", {"a": 1}),
        ({"title": "agent-swarm/get-tasks", "rawInput": {"a": 1}}, SWARM + "get-tasks", {"a": 1}),
        (
            {
                "title": "mcp.agent-swarm.get-tasks",
                "rawInput": {"server": "agent-swarm", "tool": "get-tasks", "arguments": {"b": 2}},
            },
            SWARM + "get-tasks",
            {"b": 2},
        ),
        (
            {
                "title": "x",
                "_meta": {"claudeCode": {"toolName": "Bash"}},
                "rawInput": {"command": "ls"},
            },
            "Bash",
            {"command": "ls"},
        ),
        (
            {
                "title": "x",
                "_meta": {"acme/tool": {"name": "run_it"}},
                "rawInput": {"command": "ls"},
            },
            "run_it",
            {"command": "ls"},
        ),
        (
            {
                "title": "use_tool",
                "rawInput": {"tool_name": "agent-swarm__get-tasks", "tool_input": {"c": 3}},
            },
            SWARM + "get-tasks",
            {"c": 3},
        ),
        (
            {"title": "run_commands: echo", "rawInput": {"commands": ["echo"]}},
            "run_commands",
            {"commands": ["echo"]},
        ),
        (
            {"title": "echo hello there", "kind": "execute", "status": "in_progress"},
            "bash",
            {"command": "echo hello there"},
        ),
        (
            {
                "title": None,
                "kind": "edit",
                "status": "in_progress",
                "locations": [{"path": "/x/y"}],
            },
            "edit",
            {"path": "/x/y"},
        ),
        ({"title": "so be it", "kind": "other", "status": "failed"}, "so be it", {}),
    ],
)
async def test_the_name_of_a_tool(tmp_path: Path, call: dict[str, Any], name: str, args: Any):
    fields = {"sessionUpdate": "tool_call", "toolCallId": "c1", **call}
    ran = await run(tmp_path, {"prompt": [["update", fields], ["say", "Done."]]})
    (start,), (end,) = ran.of(ToolStart), ran.of(ToolEnd)
    assert (start.tool_name, start.args) == (name, args)
    assert end.is_error, "it was left open, so it is closed when the turn is over"


async def test_a_call_that_is_first_seen_in_a_request_for_permission(tmp_path: Path):
    asked = {"toolCallId": "c1", "title": "Write x", "kind": "edit", "rawInput": {"path": "x"}}
    done = {"sessionUpdate": "tool_call_update", "toolCallId": "c1", "status": "completed"}
    ran = await run(
        tmp_path, {"prompt": [["permission", asked], ["update", done], ["say", "Done."]]}
    )
    assert ran.answers("session/request_permission") == [
        {"outcome": {"outcome": "selected", "optionId": "once"}}
    ], "by its kind, and the first of several"
    (start,), (end,) = ran.of(ToolStart), ran.of(ToolEnd)
    assert (start.tool_name, start.args, end.is_error) == ("edit", {"path": "x"}, False)


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ([{"optionId": "a", "kind": "allow_always"}], {"outcome": "selected", "optionId": "a"}),
        ([{"optionId": "x", "kind": "reject_once"}], {"outcome": "cancelled"}),
        ([{"optionId": "p", "name": "Yes, proceed"}], {"outcome": "selected", "optionId": "p"}),
        ([{"optionId": "p", "name": "Do not allow, cancel"}], {"outcome": "cancelled"}),
        (None, {"outcome": "cancelled"}),
        (["allow"], {"outcome": "cancelled"}),
    ],
)
async def test_the_choice_of_an_option(tmp_path: Path, options: Any, outcome: dict[str, str]):
    params = {"sessionId": "s-1", "toolCall": {"toolCallId": "c"}, "options": options}
    steps = [["ask", "session/request_permission", params], ["say", "Done."]]
    ran = await run(tmp_path, {"prompt": steps})
    assert ran.answers("session/request_permission") == [{"outcome": outcome}]


async def test_mode_options_model_and_effort_are_set_before_the_prompt(tmp_path: Path):
    options = [
        MODEL,
        select("allow_all", "off", "on"),
        select("effort", "low", "high"),
        {"id": "notes", "type": "boolean", "currentValue": False},
    ]
    target = Target(name="Scripted", options={"allow_all": "on", "absent": "x"})
    ran = await run(
        tmp_path,
        {"offers": {**MODES, "configOptions": options}},
        target=target,
        env={"ACP_CONFIG_OPTIONS": '{"notes": true, "none": "x", "effort": 3}'},
        model="two",
        reasoning_effort="high",
    )
    assert ran.sent("session/set_mode") == [{"sessionId": "s-1", "modeId": "yolo"}]
    assert ran.sent("session/set_config_option") == [
        {"sessionId": "s-1", "configId": "allow_all", "value": "on"},
        {"sessionId": "s-1", "configId": "notes", "value": True, "type": "boolean"},
        {"sessionId": "s-1", "configId": "model", "value": "acme/m-2"},
        {"sessionId": "s-1", "configId": "effort", "value": "high"},
    ]
    assert ran.order[-1] == "session/prompt"
    said = [event.message for event in ran.of(Progress)]
    assert said == [
        "Option none is left out: the agent does not offer it",
        "Option effort is left out: the agent wants another type",
    ]
    assert ran.result.applied_reasoning_effort == "high"


async def test_a_mode_that_is_an_option(tmp_path: Path):
    options = [select("autonomy", "normal", "auto-high", category="mode")]
    ran = await run(tmp_path, {"offers": {"configOptions": options}})
    assert ran.sent("session/set_config_option") == [
        {"sessionId": "s-1", "configId": "autonomy", "value": "auto-high"}
    ]


async def test_a_model_by_the_other_method(tmp_path: Path):
    models = {"currentModelId": "a", "availableModels": [{"modelId": "a"}, {"modelId": "b"}]}
    ran = await run(tmp_path, {"offers": {"models": models}}, model="b")
    assert ran.sent("session/set_model") == [{"sessionId": "s-1", "modelId": "b"}]


async def test_a_refused_model_fails_and_a_refused_mode_does_not(tmp_path: Path):
    script = {
        "offers": {**MODES, "configOptions": [MODEL]},
        "errors": {
            "session/set_mode": {"code": -32602, "message": "no such mode"},
            "session/set_config_option": {"code": -32602, "message": "Model not available"},
        },
    }
    ran = await run(tmp_path, script, model="gpt-9")
    assert (ran.result.is_error, ran.result.error_category) == (True, "model_not_found")
    assert "gpt-9" in (ran.result.failure_reason or "")
    assert "session/prompt" not in ran.order
    assert "refuses mode yolo" in ran.of(Progress)[0].message


async def test_a_model_that_the_agent_does_not_keep_is_said(tmp_path: Path):
    kept = {"results": {"session/set_config_option": {"configOptions": [MODEL]}}}
    ran = await run(tmp_path, {"offers": {"configOptions": [MODEL]}, **kept}, model="acme/m-2")
    assert "keeps model m-1 instead of acme/m-2" in ran.of(Progress)[0].message
    assert not ran.result.is_error


async def test_tool_servers_go_with_the_session(tmp_path: Path):
    local = McpServer(name="files", transport="stdio", command="srv", args=("-x",), env={"A": "1"})
    ran = await run(tmp_path, mcp_servers=(local,), api_key="key-0001")
    ours, installed = ran.sent("session/new")[0]["mcpServers"]
    assert (ours["type"], ours["name"], ours["url"]) == (
        "http",
        "agent-swarm",
        "http://swarm.test/mcp",
    )
    headers = {one["name"]: one["value"] for one in ours["headers"]}
    assert headers["Authorization"] == "Bearer key-0001"
    assert (headers["X-Agent-ID"], headers["X-Source-Task-Id"]) == ("agent-1", "task-1")
    assert installed == {
        "name": "files",
        "command": "srv",
        "args": ["-x"],
        "env": [{"name": "A", "value": "1"}],
    }


async def test_the_system_prompt_goes_with_the_session_if_the_agent_takes_it(tmp_path: Path):
    capabilities = {"sessionCapabilities": {"systemPrompt": {}}}
    ran = await run(tmp_path, {"capabilities": capabilities}, system_prompt="Be brief.")
    assert ran.sent("session/new")[0]["systemPrompt"] == {
        "mode": "append",
        "content": [{"type": "text", "text": "Be brief."}],
    }
    assert ran.sent("session/prompt")[0]["prompt"] == [{"type": "text", "text": "do it"}]


async def test_else_in_front_of_the_prompt_or_in_the_rules(tmp_path: Path):
    (one := tmp_path / "1").mkdir()
    (two := tmp_path / "2").mkdir()
    ran = await run(one, system_prompt="Be brief.")
    said = ran.sent("session/prompt")[0]["prompt"][0]["text"]
    assert "Be brief." in said
    assert said.endswith("\n\ndo it")
    rules = Target(name="Ruled", system_prompt="rules")
    ran = await run(two, target=rules, system_prompt="Be brief.")
    assert ran.sent("session/new")[0]["_meta"] == {"rules": "Be brief."}
    assert ran.sent("session/prompt")[0]["prompt"][0]["text"] == "do it"


async def test_else_in_a_file_of_the_operators_choice(tmp_path: Path):
    env = {"ACP_SYSTEM_PROMPT_PATH": "AGENT.md"}
    steps = [["ask", "fs/read_text_file", {"path": str(tmp_path / "work/AGENT.md")}], ["say", "x"]]
    ran = await run(tmp_path, {"prompt": steps}, env=env, system_prompt="Be brief.")
    assert ran.answers("fs/read_text_file") == [{"content": "Be brief."}]
    assert ran.sent("session/prompt")[0]["prompt"][0]["text"] == "do it"
    assert not (tmp_path / "work/AGENT.md").exists(), "it is removed after the session"
    (tmp_path / "work/AGENT.md").write_text("Somebody's own.")
    ran = await run(tmp_path, {}, env=env, system_prompt="Be brief.")
    assert (tmp_path / "work/AGENT.md").read_text() == "Somebody's own."
    assert "Be brief." in ran.sent("session/prompt")[-1]["prompt"][0]["text"]


async def test_a_prompt_that_begins_like_a_command_is_none(tmp_path: Path):
    ran = await run(tmp_path, prompt="/compact this")
    said = ran.sent("session/prompt")[0]["prompt"][0]["text"]
    assert not said.lstrip().startswith("/")
    assert said.endswith("/compact this")


async def test_the_agent_sees_few_variables(tmp_path: Path):
    env = {
        "ACP_TARGET_ENV_KEYS": "VENDOR_KEY, OTHER",
        "ACP_MODEL_ENV_KEY": "VENDOR_MODEL",
        "VENDOR_KEY": "v",
        "SECRET_OF_ANOTHER": "no",
        "HTTPS_PROXY": "http://proxy.test",
    }
    ran = await run(tmp_path, env=env, model="m-7")
    seen = ran.log[0]["env"]
    assert (seen["VENDOR_KEY"], seen["VENDOR_MODEL"]) == ("v", "m-7")
    assert "HTTPS_PROXY" in seen
    assert "SECRET_OF_ANOTHER" not in seen
    assert not [name for name in seen if "key-0001" in seen[name]]
    assert not ran.of(Progress), "the model is named by its variable"


async def test_usage_context_and_cost(tmp_path: Path):
    usage = {"inputTokens": 1234, "outputTokens": 56, "cachedReadTokens": 1000, "totalTokens": 1290}
    state = {
        "sessionUpdate": "usage_update",
        "used": 50,
        "size": 200,
        "cost": {"amount": 0.25, "currency": "USD"},
    }
    ran = await run(
        tmp_path, {"prompt": [["update", state], ["say", "Done."]], "result": {"usage": usage}}
    )
    (context,) = ran.of(ContextUsage)
    assert (context.context_used_tokens, context.context_percent) == (50, 25.0)
    cost = ran.result.cost
    assert cost is not None
    assert (cost.input_tokens, cost.cache_read_tokens, cost.output_tokens) == (234, 1000, 56)
    assert (cost.total_cost_usd, cost.num_turns) == (0.25, 1)


async def test_usage_of_the_last_request_is_not_that_of_the_turn(tmp_path: Path):
    usage = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}
    call = {"sessionUpdate": "tool_call", "toolCallId": "c", "title": "x", "status": "completed"}
    state = {"sessionUpdate": "usage_update", "used": 5, "size": 9, "cost": {"amount": 0.5}}
    script = {
        "prompt": [["update", call], ["update", state], ["say", "Done."]],
        "result": {"usage": usage},
    }
    ran = await run(tmp_path, script, target=Target(name="Last", usage="last"))
    cost = ran.result.cost
    assert cost is not None
    assert (cost.input_tokens, cost.output_tokens, cost.total_cost_usd) == (None, None, 0.5)


async def test_usage_per_request_is_added_up(tmp_path: Path):
    chunk = {
        "sessionUpdate": "agent_message_chunk",
        "content": {"type": "text", "text": ""},
        "_meta": {"usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}},
    }
    ran = await run(tmp_path, {"prompt": [["update", chunk], ["update", chunk], ["say", "x"]]})
    assert ran.result.cost is not None
    assert (ran.result.cost.input_tokens, ran.result.cost.output_tokens) == (20, 10)


async def test_a_session_is_continued_in_the_best_way_there_is(tmp_path: Path):
    old = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "OLD"}}
    script = {
        "before": {"session/load": [["update", old]]},
        "prompt": [["say", "New."]],
    }
    (one := tmp_path / "1").mkdir()
    (two := tmp_path / "2").mkdir()
    ran = await run(one, script, resume_session_id="s-1")
    assert ran.order[1] == "session/load"
    assert ran.sent("session/load")[0]["sessionId"] == "s-1"
    assert [message.content for message in ran.of(Message)] == ["New."], "the replay is not news"
    script["capabilities"] = {"loadSession": True, "sessionCapabilities": {"resume": {}}}
    ran = await run(two, script, resume_session_id="s-1")
    assert ran.order[1] == "session/resume"
    assert ran.result.output == "New."


@pytest.mark.parametrize("offered", [True, False])
async def test_a_fork_has_an_id_of_its_own_where_the_agent_makes_one(tmp_path: Path, offered: bool):
    sessions = {"resume": {}} | ({"fork": {}} if offered else {})
    script = {"capabilities": {"sessionCapabilities": sessions}, "prompt": [["say", "New."]]}
    earlier = "s-0" if offered else "s-1"
    ran = await run(tmp_path, script, resume_session_id=earlier, forks=True)
    assert ran.order[1] == ("session/fork" if offered else "session/resume")
    assert [event.session_id for event in ran.of(SessionInit)] == ["s-1"]
    assert ran.result.output == "New."


@pytest.mark.parametrize(
    "script",
    [
        {"errors": {"session/load": {"code": -32602, "message": "Unknown sessionId"}}},
        {"capabilities": {}},
        {"results": {"session/load": {}}, "capabilities": {"loadSession": "yes"}},
    ],
)
async def test_a_session_that_is_gone_starts_afresh(tmp_path: Path, script: dict[str, Any]):
    ran = await run(tmp_path, script, resume_session_id="gone-1", fresh_prompt="all of it")
    assert not ran.result.is_error
    assert ran.sent("session/prompt")[0]["prompt"][0]["text"] == "all of it"
    assert [begun.session_id for begun in ran.of(SessionInit)] == ["s-1"]


async def test_a_target_that_must_not_load_never_does(tmp_path: Path):
    target = Target(name="Fragile", can_load=False)
    ran = await run(tmp_path, resume_session_id="s-9", target=target)
    assert "session/load" not in ran.order
    assert not ran.result.is_error


async def test_which_sessions_can_be_continued(tmp_path: Path):
    await run(tmp_path)
    config = session_config(tmp_path, env=agent_env(tmp_path, {}))
    adapter = GenericAdapter()
    assert await adapter.can_resume("s-1", config)
    for other in ("s-2", "", "../s-1", ".", "s-1/", "x" * 5000):
        assert not await adapter.can_resume(other, config)


async def test_a_journal_is_read_again(tmp_path: Path):
    usage = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}
    script = {"offers": MODES, "prompt": [["pieces", "Done it."]], "result": {"usage": usage}}
    ran = await run(tmp_path, script)
    config = session_config(tmp_path, env=agent_env(tmp_path, script), prompt="")
    translator = await GenericAdapter().translator(config)
    assert translator is not None
    import orjson

    from agent_swarm_worker.contract import Ending

    events = []
    for line in (tmp_path / "session.jsonl").read_bytes().splitlines():
        events += translator.feed(orjson.loads(line))
    again = translator.conclude(Ending(exit_code=0))
    assert (again.is_error, again.output) == (False, "Done it.")
    assert again.cost is not None
    assert again.cost.input_tokens == 10
    assert [event.content for event in events if isinstance(event, Message)] == ["Done it."]
    assert ran.result.output == again.output


# --- messages while it runs
async def deliver(
    tmp_path: Path, script: dict[str, Any], mode: str, **changed: Any
) -> tuple[Any, Any]:
    """Deliver a message during the first turn; return its delivery and the result."""
    session, _ = await make_session(tmp_path, script, **changed)
    results: list[Any] = []
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            results.append(await session.wait_for_completion())

        group.start_soon(wait)
        while not any(entry.get("method") == "session/prompt" for entry in noted(tmp_path)):
            await anyio.sleep(0.01)
        delivery = await session.deliver_steering(mode, "and the reeds")
    return delivery, results[0]


@pytest.mark.long
async def test_a_message_waits_for_the_end_of_the_turn(tmp_path: Path):
    script = {"prompt": [["wait", 0.3], ["echo"]]}
    for number, mode in enumerate(("queue", "steer")):
        (folder := tmp_path / str(number)).mkdir()
        delivery, result = await deliver(folder, script, mode)
        assert (delivery.delivered, delivery.mode) == (True, "queue")
        assert result.output == "heard: and the reeds"


async def test_a_message_goes_into_the_turn_by_the_agents_method(tmp_path: Path):
    script = {
        "initialize": {"_meta": {"steering": {"supported": True}}},
        "results": {"_session/steering": {"outcome": "injected"}},
        "prompt": [["wait", 0.3], ["say", "Done."]],
    }
    delivery, _ = await deliver(tmp_path, script, "steer")
    assert (delivery.delivered, delivery.mode) == (True, "steer")
    sent = [entry for entry in noted(tmp_path) if entry.get("method") == "_session/steering"]
    assert sent[0]["params"]["prompt"][0]["text"] == "and the reeds"
    assert len([one for one in noted(tmp_path) if one.get("method") == "session/prompt"]) == 1


async def test_a_message_goes_into_the_turn_as_a_second_prompt(tmp_path: Path):
    script = {"prompt": [["wait", 0.3], ["echo"]]}
    target = Target(name="Merging", steering="prompt")
    delivery, result = await deliver(tmp_path, script, "steer", target=target)
    assert (delivery.delivered, delivery.mode) == (True, "steer")
    assert result.output == "heard: do itheard: and the reeds", (
        "the turn is over with the last answer"
    )


async def test_a_message_goes_into_the_turn_when_the_agent_asks_for_it(tmp_path: Path):
    ask = ["ask", "craft/drainMidTurnQueue", {"sessionId": "s-1"}]
    script = {"prompt": [["wait", 0.4], ask, ["say", "Done."]]}
    target = Target(name="Asking", steering="queue")
    delivery, _ = await deliver(tmp_path, script, "steer", target=target)
    assert (delivery.delivered, delivery.mode) == (True, "steer")
    asked = [entry for entry in noted(tmp_path) if "asked" in entry]
    assert asked[0]["got"] == {"messages": ["and the reeds"]}


# --- settings
async def test_settings_that_cannot_be_used(tmp_path: Path):
    guest, adapter = LocalGuest("acp-settings"), GenericAdapter()
    good = agent_env(tmp_path, {})
    await adapter.check(good, guest)
    for wrong in (
        {"ACP_TARGET": "nonesuch"},
        {"ACP_TARGET": "acp"},
        {"ACP_TARGET_ARGS": "[1"},
        {"ACP_TARGET_ARGS": "[1]"},
        {"ACP_TARGET_ARGS": '{"a": 1}'},
        {"ACP_TARGET_COMMAND": ""},
        {"ACP_CONFIG_OPTIONS": "[]"},
        {"ACP_START_TIMEOUT_SECONDS": "soon"},
    ):
        with pytest.raises(BadSetting):
            await adapter.check({**good, **wrong}, guest)
    with pytest.raises(BinaryMissing):
        await adapter.check({**good, "ACP_TARGET_COMMAND": "no-such-agent"}, guest)
    for name in ("ACP_TARGET_COMMAND", "ACP_COMMAND"):
        assert adapter.program({name: "agent --x 'a b'"}) == ("agent", "--x", "a b")
    split = {"ACP_TARGET_COMMAND": "my agent", "ACP_TARGET_ARGS": "--x 'a b'"}
    assert adapter.program(split) == ("my agent", "--x", "a b")
