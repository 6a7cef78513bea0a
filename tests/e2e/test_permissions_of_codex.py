"""The real codex under a permission gate: what it does not ask about can change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from real_cli_rig import CliRig, cli_rig
from real_codex import PROGRAM, codex_env
from scripted_gate import DENIAL, GateOf, ScriptedGate, broken, never

from agent_swarm_worker.contract import PermissionDecided, ToolEnd, ToolStart
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.codex.adapter import CodexAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

STORE = "mcp__agent-swarm__store-progress"


@pytest.fixture
async def rig(tmp_path: Path, anyio_backend: str) -> AsyncIterator[CliRig]:
    async with cli_rig(tmp_path, PROGRAM, CodexAdapter(), codex_env) as ready:
        (tmp_path / "work").mkdir()
        yield ready


def added(path: str) -> str:
    """The tag with which the model adds a file."""
    patch = f"*** Begin Patch\n*** Add File: {path}\n+heron\n*** End Patch\n"
    return f"[[tool:apply_patch {json.dumps({'patch': patch})}]]"


async def test_commands_changes_and_tool_servers_are_asked_about(rig: CliRig) -> None:
    gate = ScriptedGate()
    ran = await rig.run(
        f"[[bash:ls]] [[bash:touch made]] {added('new.txt')}"
        f' [[tool:{STORE} {{"progress": "half way"}}]] [[say:All]]',
        permissions=gate,
    )
    assert (ran.result.is_error, ran.result.output) == (False, "All")
    assert gate.asked == ["bash", "bash", "Write", STORE]
    assert not any(end.is_error for end in ran.of(ToolEnd)), ran.of(ToolEnd)
    assert {path.name for path in (rig.folder / "work").iterdir()} == {"made", "new.txt"}
    assert rig.tools.calls == ["half way"]
    ids = [start.tool_call_id for start in ran.of(ToolStart)]
    assert [event.tool_call_id for event in ran.of(PermissionDecided)] == ids
    change = gate.requests[2].args["changes"]
    assert [Path(one["path"]).name for one in change] == ["new.txt"]


@pytest.mark.parametrize(
    "call",
    [
        "[[bash:touch made]]",
        added("../made"),
        f'[[tool:{STORE} {{"progress": "made up"}}]]',
    ],
    ids=["command", "change", "tool-server"],
)
async def test_what_is_denied_does_not_run_and_the_model_is_told_why(
    rig: CliRig, call: str
) -> None:
    ran = await rig.run(call, permissions=ScriptedGate("made"))
    assert not ran.result.is_error
    assert [event.is_allowed for event in ran.of(PermissionDecided)] == [False]
    assert [end.is_error for end in ran.of(ToolEnd)] == [True]
    assert not list(rig.folder.glob("**/made"))
    assert rig.tools.calls == []
    assert DENIAL in json.dumps(rig.model.requests[1].body["input"])


async def test_neither_the_repository_nor_rules_weaken_it(rig: CliRig) -> None:
    place = rig.folder / "work/.codex"
    rules = 'prefix_rule(pattern=["touch"], decision="allow")\n'
    hook = [{"hooks": [{"type": "command", "command": f"touch {rig.folder}/hook"}]}]
    server = f'[mcp_servers.x]\ncommand = "sh"\nargs = ["-c", "touch {rig.folder}/server"]\n'
    files = {
        "config.toml": f'approval_policy = "never"\nsandbox_mode = "danger-full-access"\n{server}',
        "rules/x.rules": rules,
        "hooks.json": json.dumps({"hooks": {"SessionStart": hook, "PreToolUse": hook}}),
    }
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    (rig.folder / "work/.git").mkdir()
    (rig.folder / "work/.git/HEAD").write_text("ref: refs/heads/main\n")
    config = rig.config("[[bash:touch made]]", permissions=ScriptedGate("touch"))
    home = rig.folder / "home/.codex"
    (home / "rules").mkdir()
    (home / "rules/x.rules").write_text(rules)
    with (home / "config.toml").open("a") as own:
        own.write(f'[projects."{config.cwd}"]\ntrust_level = "trusted"\n')
    session = await rig.adapter.create_session(config)
    result = await session.wait_for_completion()
    assert not result.is_error
    assert not {"hook", "server"} & {path.name for path in rig.folder.iterdir()}
    assert not (rig.folder / "work/made").exists()


async def test_a_gate_that_fails_denies(rig: CliRig) -> None:
    ran = await rig.run("[[bash:touch made]]", permissions=GateOf(broken))
    assert [event.is_allowed for event in ran.of(PermissionDecided)] == [False]
    assert not (rig.folder / "work/made").exists()


async def test_an_abort_while_a_question_is_open_ends_at_once(rig: CliRig) -> None:
    gate = GateOf(never)
    session = await rig.adapter.create_session(rig.config("[[bash:touch made]]", permissions=gate))
    events: list[Any] = []
    session.on_event(events.append)
    async with anyio.create_task_group() as tasks:

        async def abort() -> None:
            while not gate.requests:
                await anyio.sleep(0.02)
            await session.abort()

        tasks.start_soon(abort)
        result = await session.wait_for_completion()
    assert result.error_category == "aborted"
    assert len(gate.cancelled) == 1
    assert not (rig.folder / "work/made").exists()


async def test_no_session_runs_unguarded(rig: CliRig) -> None:
    for changed in (
        {"env": {"CODEX_TRANSPORT": "exec"}},
        {"additional_args": ("--dangerously-bypass-approvals-and-sandbox",)},
        {"additional_args": ("-c", 'approval_policy="never"')},
    ):
        with pytest.raises(ProviderError, match="permission policy"):
            await rig.run("[[bash:touch made]]", permissions=ScriptedGate(), **changed)
    assert rig.model.requests == []
