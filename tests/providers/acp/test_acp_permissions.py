"""An agent over ACP under a permission gate: what it asks, and what it asks its client to do."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from acp_rig import make_session, noted, run
from scripted_gate import DENIAL, GateOf, ScriptedGate, never
from session_config import session_config

from agent_swarm_worker.contract import (
    Error,
    McpServer,
    PermissionDecided,
    PermissionRequest,
    ToolEnd,
    ToolStart,
    Verdict,
)
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.acp import permissions
from agent_swarm_worker.providers.acp.adapter import GenericAdapter
from agent_swarm_worker.providers.acp.target import Asking, Target
from agent_swarm_worker.providers.acp.targets import TARGETS
from agent_swarm_worker.providers.kit.permissions import BREACH
from agent_swarm_worker.providers.qwen.adapter import OVERRIDES, QwenAdapter

pytestmark = pytest.mark.anyio

ASKED = "session/request_permission"
CALL = {"toolCallId": "c1", "title": "rm x", "kind": "execute", "rawInput": {"command": "rm x"}}
FAILED = {"sessionUpdate": "tool_call_update", "toolCallId": "c1", "status": "failed"}
CANCELLED = {"outcome": {"outcome": "cancelled"}}


def chosen(option: str) -> dict[str, Any]:
    return {"outcome": {"outcome": "selected", "optionId": option}}


def modes(*names: str, current: str) -> dict[str, Any]:
    return {"modes": {"currentModeId": current, "availableModes": [{"id": it} for it in names]}}


def denying_once() -> Callable[[PermissionRequest], Awaitable[Verdict]]:
    answers = iter([Verdict(False, DENIAL), Verdict(True)])

    async def answer(_: PermissionRequest) -> Verdict:
        return next(answers)

    return answer


async def test_an_allowed_call_is_allowed_once(tmp_path: Path):
    gate = ScriptedGate()
    steps = [["permission", CALL], ["say", "Done."]]
    ran = await run(tmp_path, {"prompt": steps}, permissions=gate)
    assert ran.answers(ASKED) == [chosen("once")]
    (request,) = gate.requests
    assert (request.tool_name, request.args) == ("bash", {"command": "rm x"})
    kinds = (ToolStart, PermissionDecided)
    seen = [event for event in ran.events if isinstance(event, kinds)]
    assert [type(event) for event in seen] == [*kinds]
    assert {event.tool_call_id for event in seen} == {"c1"}


async def test_a_denied_call_is_refused_once_and_the_agent_is_told_why(tmp_path: Path):
    steps = [["permission", CALL], ["update", FAILED], ["say", "Done."]]
    ran = await run(tmp_path, {"prompt": steps}, permissions=GateOf(denying_once()))
    assert ran.answers(ASKED) == [chosen("no"), chosen("once")]
    (end, *_) = ran.of(ToolEnd)
    assert end.is_error
    first, second = ran.sent("session/prompt")
    assert DENIAL not in str(first)
    assert DENIAL in str(second)


async def test_an_agent_that_repeats_a_denied_call_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(permissions, "MAX_TOLD", 2)
    steps = [["permission", CALL], ["update", FAILED], ["say", "Done."]]
    ran = await run(tmp_path, {"prompt": steps}, permissions=ScriptedGate("rm"))
    assert len(ran.sent("session/prompt")) == 3
    assert not ran.result.is_error


@pytest.mark.parametrize(
    ("options", "gate"),
    [
        ([{"optionId": "a", "kind": "allow_always"}], ScriptedGate()),
        ([{"optionId": "p", "name": "Yes, proceed"}], ScriptedGate()),
        ([{"optionId": "a", "kind": "allow_once"}], ScriptedGate("tool")),
        (None, ScriptedGate()),
    ],
)
async def test_without_an_option_for_this_call_only_it_is_refused(
    tmp_path: Path, options: Any, gate: ScriptedGate
):
    params = {"sessionId": "s-1", "toolCall": {"toolCallId": "c"}, "options": options}
    ran = await run(
        tmp_path, {"prompt": [["ask", ASKED, params], ["say", "Done."]]}, permissions=gate
    )
    assert ran.answers(ASKED)[0] == CANCELLED


async def test_an_abort_answers_the_open_question(tmp_path: Path):
    gate = GateOf(never)
    steps = [["permission", CALL], ["say", "Done."]]
    session, events = await make_session(tmp_path, {"prompt": steps}, permissions=gate)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.wait_for_completion)
        with anyio.fail_after(60):
            while not gate.requests:
                await anyio.sleep(0.02)
        await session.abort()
    decided = [event for event in events if isinstance(event, PermissionDecided)]
    assert [event.is_allowed for event in decided] == [False]
    assert len(gate.cancelled) == 1
    answers = [entry["got"] for entry in noted(tmp_path) if entry.get("asked") == ASKED]
    assert answers in ([CANCELLED], [])  # it may be gone before it notes the answer


async def test_what_the_client_does_is_asked_about(tmp_path: Path):
    steps = [
        ["ask", "fs/write_text_file", {"path": str(tmp_path / "work/no"), "content": "x"}],
        ["ask", "fs/write_text_file", {"path": str(tmp_path / "work/yes"), "content": "x"}],
        ["ask", "fs/read_text_file", {"path": str(tmp_path / "work/no")}],
        ["ask", "terminal/create", {"sessionId": "s-1", "command": "touch", "args": ["no"]}],
        ["say", "Done."],
    ]
    gate = ScriptedGate("/no", "touch no")
    env = {"ACP_CLIENT_TOOLS": "1"}
    ran = await run(tmp_path, {"prompt": steps}, permissions=gate, env=env)
    assert gate.asked == ["write", "write", "read", "bash"]
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["yes"]
    for method in ("fs/read_text_file", "terminal/create"):
        assert DENIAL in str(ran.answers(method)[0])


async def test_what_carries_out_an_allowed_call_is_not_asked_about_again(tmp_path: Path):
    path = str(tmp_path / "work/yes")
    call = {"toolCallId": "c1", "title": "Write", "kind": "edit", "rawInput": {"path": path}}
    done = {"sessionUpdate": "tool_call_update", "toolCallId": "c1", "status": "completed"}
    write = ["ask", "fs/write_text_file", {"path": path, "content": "x"}]
    steps = [["permission", call], write, ["update", done], write, ["say", "Done."]]
    gate = ScriptedGate()
    await run(tmp_path, {"prompt": steps}, permissions=gate, env={"ACP_CLIENT_TOOLS": "1"})
    assert gate.asked == ["Write", "write"]


async def test_only_what_was_allowed_itself_is_not_asked_about(tmp_path: Path):
    work = str(tmp_path / "work")
    path = f"{work}/yes"
    shell = {
        "toolCallId": "c1",
        "kind": "execute",
        "rawInput": {"command": "echo a", "description": path, "path": path},
    }
    read = {"toolCallId": "c2", "kind": "read", "rawInput": {"path": path, "note": "echo b"}}
    env = [{"name": "LD_PRELOAD", "value": "a b"}]
    steps = [
        ["permission", shell],
        ["permission", read],
        ["terminal", {"command": "echo a"}],
        ["terminal", {"command": "echo", "args": ["a"], "cwd": work}],
        ["ask", "fs/read_text_file", {"path": path}],
        ["terminal", {"command": "echo b"}],
        ["terminal", {"command": "echo a", "env": env}],
        ["terminal", {"command": "echo a", "env": [{"name": "BASH_FUNC_x%%", "value": "() {"}]}],
        ["terminal", {"command": "echo a", "cwd": str(tmp_path)}],
        ["ask", "fs/write_text_file", {"path": path, "content": "x"}],
        ["say", "Done."],
    ]
    gate = ScriptedGate()
    await run(tmp_path, {"prompt": steps}, permissions=gate, env={"ACP_CLIENT_TOOLS": "1"})
    shown = [(one.tool_name, one.args.get("command")) for one in gate.requests[2:]]
    assert shown == [
        ("bash", "echo b"),
        ("bash", "LD_PRELOAD='a b' echo a"),
        ("bash", "'BASH_FUNC_x%%=() {' echo a"),
        ("bash", "echo a"),
        ("write", None),
    ]


async def test_allowed_calls_are_remembered_while_they_run_and_not_without_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(permissions, "MAX_ALLOWED", 3)
    kept: list[Any] = []
    forget = permissions.Permissions._forget_ended

    def noted(self: permissions.Permissions) -> None:
        kept.append([*self._allowed])
        forget(self)

    monkeypatch.setattr(permissions.Permissions, "_forget_ended", noted)
    steps: list[Any] = [
        ["permission", {**CALL, "rawInput": {"command": f"echo {number} {'x' * 500}"}}]
        for number in range(6)
    ]
    steps += [["update", FAILED], ["permission", {**CALL, "toolCallId": "c2"}]] * 2
    await run(tmp_path, {"prompt": [*steps, ["say", "Done."]]}, permissions=ScriptedGate())
    assert max(map(len, kept)) == 3
    assert {len(digest) for one in kept for _, digest in one} == {32}
    assert [call_id for call_id, _ in kept[-1]] == ["c2"]


async def test_a_denied_call_that_runs_all_the_same_ends_the_session(tmp_path: Path):
    done = {**FAILED, "status": "completed", "rawOutput": "gone"}
    steps = [["permission", CALL], ["update", done], ["wait", 60], ["say", "Done."]]
    ran = await run(tmp_path, {"prompt": steps}, permissions=ScriptedGate("rm"))
    (end,) = ran.of(ToolEnd)
    assert (end.is_error, end.result) == (False, "gone")
    (error,) = ran.of(Error)
    assert error.category == BREACH
    assert DENIAL in error.message
    assert ran.result.is_error
    assert error.message in str(ran.result.failure_reason)


async def test_a_session_whose_denied_call_ran_has_not_succeeded(tmp_path: Path):
    done = {**FAILED, "status": "completed"}
    steps = [["permission", CALL], ["update", done], ["say", "Done."]]
    ran = await run(tmp_path, {"prompt": steps}, permissions=ScriptedGate("rm"))
    assert ran.result.is_error
    assert "ran although it was denied" in str(ran.result.failure_reason)


SWARMS = "agent-swarm_store-progress"
OTHER = {"kind": "other"}
AS_SWARMS = {"server": "agent-swarm", "tool": "x", "arguments": {}}


@pytest.mark.parametrize(
    ("names", "call", "name"),
    [
        ("", {"title": "read: x; touch pwn", "kind": "execute"}, "bash"),
        ("title", {"title": "read: x; touch pwn", "kind": "execute"}, "bash"),
        ("title", {"title": "agent-swarm/run.sh", "kind": "execute"}, "bash"),
        ("title", {"title": "agent-swarm_x", "kind": "edit"}, "edit"),
        ("title", {"title": "task", "kind": "delete"}, "delete"),
        ("title", {"title": "todowrite", "kind": "move"}, "move"),
        ("title", {"title": "read", "kind": "fetch"}, "fetch"),
        ("title", {"title": "task", "kind": "read"}, "read"),
        ("title", {"title": "write", "kind": "edit"}, "write"),
        ("", {"title": "task", **OTHER}, "other"),
        ("", {"title": "task"}, "tool"),
        ("", {"title": SWARMS, **OTHER}, "other"),
        ("title", {"title": SWARMS}, "mcp__agent-swarm__store-progress"),
        ("title", {"title": SWARMS, **OTHER}, "mcp__agent-swarm__store-progress"),
        ("title", {"title": "read: x", **OTHER}, "other"),
        ("", {"title": "x", "toolCallId": "read__read_1", **OTHER}, "other"),
        ("id", {"title": "x", "toolCallId": "read__read_1", **OTHER}, "read"),
        ("", {"title": "x", "_meta": {"toolName": "bash"}, "rawInput": AS_SWARMS}, "bash"),
        ("", {"title": "x", "kind": "execute", "rawInput": AS_SWARMS}, "bash"),
        (
            "",
            {"kind": "execute", "_meta": {"is_mcp_tool_call": True}, "rawInput": AS_SWARMS},
            "mcp__agent-swarm__x",
        ),
        (
            "",
            {"title": "use_tool", "rawInput": {"tool_name": SWARMS, "tool_input": {}}},
            "tool",
        ),
        (
            "",
            {
                "_meta": {"toolName": "tool_call"},
                "rawInput": {
                    "tool_name": SWARMS,
                    "tool_input": {},
                    "name": "mcp__evil__x",
                    "arguments": {},
                },
            },
            "tool_call",
        ),
        (
            "",
            {
                "_meta": {"acme/tool": {"name": "use_tool"}},
                "rawInput": {"tool_name": SWARMS, "tool_input": {"progress": "x"}},
            },
            "mcp__agent-swarm__store-progress",
        ),
    ],
)
async def test_what_the_model_writes_does_not_name_the_tool(
    tmp_path: Path, names: Any, call: dict[str, Any], name: str
):
    call = {"toolCallId": "c1", "rawInput": {"command": "touch pwn"}, **call}
    begun = {"sessionUpdate": "tool_call", "status": "pending", **call}
    steps = [["update", begun], ["permission", call], ["say", "Done."]]
    target, gate = Target(name="Scripted", tool_names=names), ScriptedGate()
    ran = await run(tmp_path, {"prompt": steps}, target=target, permissions=gate)
    assert gate.asked == [name]
    assert {start.tool_name for start in ran.of(ToolStart)} == {name}


async def test_a_question_alone_names_no_tool_of_the_swarm(tmp_path: Path):
    call = {"toolCallId": "c1", "title": SWARMS, "kind": "other", "rawInput": {"a": 1}}
    target, gate = Target(name="Scripted", tool_names="title"), ScriptedGate()
    steps = [["permission", call], ["say", "Done."]]
    await run(tmp_path, {"prompt": steps}, target=target, permissions=gate)
    assert gate.asked == ["other"]


async def test_a_server_does_not_get_the_name_of_a_shorter_one(tmp_path: Path):
    server = McpServer(name="agent-swarm-x", transport="stdio", command="true")
    call = {"toolCallId": "c1", "_meta": {"toolName": "agent-swarm-x_get"}, "rawInput": {"a": 1}}
    gate = ScriptedGate()
    steps = [["permission", call], ["say", "Done."]]
    await run(tmp_path, {"prompt": steps}, permissions=gate, mcp_servers=(server,))
    assert gate.asked == ["mcp__agent-swarm-x__get"]


async def test_a_title_is_no_command_and_all_files_shown_are_judged(tmp_path: Path):
    diffs = [{"type": "diff", "path": path} for path in ("/a", "/b")]
    steps = [
        ["permission", {"toolCallId": "c1", "title": "ls", "kind": "execute"}],
        ["permission", {"toolCallId": "c2", "title": "x", "kind": "edit", "content": diffs}],
        ["say", "Done."],
    ]
    gate = ScriptedGate()
    await run(tmp_path, {"prompt": steps}, permissions=gate)
    first, second = gate.requests
    assert first.args == {"title": "ls"}
    assert second.args["paths"] == ["/a", "/b"]


async def test_the_mode_that_asks_is_set_and_options_that_end_it_are_not(tmp_path: Path):
    option = {"id": "allow_all", "type": "select", "currentValue": "off"}
    option["options"] = [{"value": "on"}, {"value": "off"}]
    offers = {**modes("yolo", "default", current="yolo"), "configOptions": [option]}
    target = Target(name="Scripted", options={"allow_all": "on"})
    ran = await run(
        tmp_path,
        {"offers": offers, "prompt": [["say", "Done."]]},
        target=target,
        permissions=ScriptedGate(),
        env={"ACP_CONFIG_OPTIONS": '{"allow_all": "on"}'},
    )
    assert ran.sent("session/set_mode") == [{"sessionId": "s-1", "modeId": "default"}]
    assert ran.sent("session/set_config_option") == []
    assert not ran.result.is_error


async def test_an_agent_that_stays_in_a_mode_without_questions_gets_no_prompt(tmp_path: Path):
    offers = modes("yolo", "turbo", current="yolo")
    ran = await run(tmp_path, {"offers": offers}, permissions=ScriptedGate())
    assert ran.result.is_error
    assert "mode yolo" in str(ran.result.failure_reason)
    assert ran.sent("session/prompt") == []


@pytest.mark.parametrize("argument", ["--always-approve", "--yolo", "--approval-mode=yolo"])
async def test_an_argument_that_ends_the_asking_is_refused(tmp_path: Path, argument: str):
    with pytest.raises(ProviderError, match=argument):
        await run(tmp_path, additional_args=(argument,), permissions=ScriptedGate())


async def test_grok_is_started_without_its_approval_of_everything(tmp_path: Path):
    env = {"ACP_TARGET": "grok", "XAI_API_KEY": "k", "HOME": str(tmp_path)}
    for is_guarded in (False, True):
        gate = ScriptedGate() if is_guarded else None
        config = session_config(tmp_path, env=env, permissions=gate)
        plan = await GenericAdapter().plan(config)
        assert ("--always-approve" not in plan.command) is is_guarded
        assert plan.command[:2] == ("grok", "agent")


async def test_agents_that_ask_nobody_and_repositories_with_code_are_refused(tmp_path: Path):
    with pytest.raises(ProviderError, match="asks nobody"):
        await run(tmp_path, target=TARGETS["pi-acp"], permissions=ScriptedGate())
    (tmp_path / "work/.agent/plugins").mkdir(parents=True)
    target = Target(name="Scripted", asking=Asking(code_places=(".agent/plugins",)))
    with pytest.raises(ProviderError, match=r"\.agent/plugins"):
        await run(tmp_path, target=target, permissions=ScriptedGate())
    assert not (await run(tmp_path, target=target)).result.is_error


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("opencode", "opencode.json"),
        ("opencode", ".opencode/opencode.jsonc"),
        ("copilot", ".github/hooks"),
        ("grok", ".mcp.json"),
        ("droid", ".factory/mcp.json"),
    ],
)
async def test_a_repository_that_configures_programs_is_refused(
    tmp_path: Path, name: str, place: str
):
    path = tmp_path / "work" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    (tmp_path / "work/.git").touch()
    (tmp_path / "work/sub").mkdir()
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin", "ACP_TARGET": name}
    config = session_config(tmp_path, env=env, cwd=tmp_path / "work/sub")
    adapter = GenericAdapter()
    await adapter.create_session(config)
    with pytest.raises(ProviderError, match="would run the programs"):
        await adapter.create_session(replace(config, permissions=ScriptedGate()))
    path.rename(tmp_path / "operators")
    await adapter.create_session(replace(config, permissions=ScriptedGate()))


async def test_no_setting_of_a_repository_goes_before_those_of_a_guarded_qwen(tmp_path: Path):
    config = session_config(tmp_path, env={"HOME": str(tmp_path)}, permissions=ScriptedGate())
    plan = await QwenAdapter().plan(config)
    written = {str(file.path): json.loads(file.content) for file in plan.files}
    settings = written[plan.env[OVERRIDES]]
    assert settings["tools"].items() >= {"discoveryCommand": "", "callCommand": ""}.items()
    assert settings["mcp"] == {"allowed": ["agent-swarm"], "serverCommand": ""}
    assert set(settings["mcpServers"]) == {"agent-swarm"}
