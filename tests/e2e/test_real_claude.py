"""The real Claude Code through our adapter, against the scripted model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from real_claude import PROGRAM, hermetic_env
from real_cli_rig import CliRig, cli_rig, processes

from agent_swarm_worker.contract import ToolEnd, ToolStart
from agent_swarm_worker.providers.claude.adapter import ClaudeAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


pytestmark = [pytest.mark.slow, pytest.mark.anyio]

STORE = "mcp__agent-swarm__store-progress"


@pytest.fixture
async def rig(tmp_path: Path, anyio_backend: str) -> AsyncIterator[CliRig]:
    async with cli_rig(tmp_path, PROGRAM, ClaudeAdapter(), hermetic_env) as ready:
        yield ready


async def test_a_prompt_a_tool_and_an_answer(rig: CliRig) -> None:
    ran = await rig.run("[[bash:echo $AGENT_SWARM_TASK_ID]] [[say:Ran it.]]")
    assert (ran.result.is_error, ran.result.output) == (False, "Ran it.")
    assert [start.tool_name for start in ran.of(ToolStart)] == ["Bash"]
    assert [end.result for end in ran.of(ToolEnd)] == ["task-1"]
    assert ran.result.cost
    assert ran.result.cost.input_tokens == 2000
    assert rig.model.others == []


async def test_the_swarms_tools_are_found_and_know_the_task(rig: CliRig) -> None:
    """Shown to the model without a switch that would hide them, and found through ToolSearch."""
    ran = await rig.run(f'[[tool:{STORE} {{"progress":"half way"}}]]')
    assert not ran.result.is_error
    assert rig.tools.calls == ["half way"]
    for headers in rig.tools.headers:
        assert headers["authorization"] == "Bearer swarm-api-key-0001"
        assert (headers["x-agent-id"], headers["x-source-task-id"]) == ("agent-1", "task-1")
    announced = [
        message for message in rig.model.requests[0].body["messages"] if message["role"] == "system"
    ]
    assert STORE in json.dumps(announced)


@pytest.mark.parametrize(
    "prompt",
    ["--help", "-x", "/nosuch thing", "@nothing", "x" * 2**20, "é\n😀"],
    ids=lambda p: p[:9],
)
async def test_any_prompt_reaches_the_model(rig: CliRig, prompt: str) -> None:
    ran = await rig.run(prompt, system_prompt="You are one of many. ☂")
    assert not ran.result.is_error
    (request,) = rig.model.requests
    assert request.prompt == prompt
    assert "You are one of many. ☂" in request.system


@pytest.mark.parametrize("prompt", ["/help", "/compact now", "/clear", "/cost"])
async def test_a_prompt_the_cli_takes_for_itself_is_no_success(rig: CliRig, prompt: str) -> None:
    ran = await rig.run(prompt)
    assert (ran.result.is_error, ran.result.error_category) == (True, "empty_run")
    assert rig.model.requests == []


async def test_a_skill_is_run_by_its_name(rig: CliRig) -> None:
    skill = rig.folder / "home/.claude/skills/work-on-task"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text(
        "---\nname: work-on-task\ndescription: Work.\n---\nThe task is: $ARGUMENTS\n"
    )
    ran = await rig.run(f"{ClaudeAdapter().format_command('work-on-task')} 4711")
    assert not ran.result.is_error
    assert "The task is: 4711" in json.dumps(rig.model.requests[0].body["messages"])


async def test_a_resumed_session_goes_on_and_is_billed_for_what_is_new(
    rig: CliRig,
) -> None:
    first = await rig.run("[[say:First.]]")
    session_id = first.result.session_id
    assert session_id
    assert await ClaudeAdapter().can_resume(session_id, first.config)
    second = await rig.run("[[say:Second.]]", resume_session_id=session_id)
    assert (second.result.session_id, second.result.output) == (session_id, "Second.")
    assert "First." in json.dumps(rig.model.requests[1].body["messages"])
    assert first.result.cost
    assert second.result.cost
    assert second.result.cost.total_cost_usd == pytest.approx(first.result.cost.total_cost_usd)
    assert second.result.cost.input_tokens == 1000


async def test_a_session_that_is_gone_is_begun_afresh(rig: CliRig) -> None:
    gone = "11111111-1111-4111-8111-111111111111"
    config = rig.config("[[say:Fresh.]]", resume_session_id=gone)
    assert not await ClaudeAdapter().can_resume(gone, config)
    ran = await rig.run("[[say:Fresh.]]", resume_session_id=gone)
    assert (ran.result.is_error, ran.result.output) == (False, "Fresh.")


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("[[fail:401]]", "authentication_failed"),
        ("[[fail:429]]", "rate_limit"),
        ("[[fail:500]]", "server_error"),
        ("[[fail:529]]", "overloaded"),
    ],
)
async def test_errors_of_the_model_api(rig: CliRig, prompt: str, category: str) -> None:
    ran = await rig.run(prompt, env={"CLAUDE_CODE_MAX_RETRIES": "0"})
    assert (ran.result.is_error, ran.result.error_category) == (True, category)


async def test_with_two_credentials_the_token_is_used(rig: CliRig) -> None:
    token = "sk-ant-oat01-scripted"
    await rig.run("[[say:ok]]", env={"CLAUDE_CODE_OAUTH_TOKEN": token})
    headers = rig.model.requests[0].headers
    assert headers["authorization"] == f"Bearer {token}"
    assert "x-api-key" not in headers


@pytest.mark.parametrize(
    ("model", "level", "sent"), [("opus", "low", "low"), ("haiku", "xhigh", "xhigh")]
)
async def test_reasoning_effort_reaches_the_model(
    rig: CliRig, model: str, level: str, sent: str
) -> None:
    ran = await rig.run("[[say:ok]]", model=model, reasoning_effort=level)
    assert rig.model.requests[0].body["output_config"] == {"effort": sent}
    assert ran.result.applied_reasoning_effort == sent


async def test_an_abort_in_a_tool_keeps_the_cost_and_leaves_no_process(
    rig: CliRig,
) -> None:
    marker = f"time.sleep({30 + rig.runs}.4711)"
    config = rig.config(f"[[bash:python3 -c 'import time; {marker}']]")
    session = await ClaudeAdapter().create_session(config)
    async with anyio.create_task_group() as tasks:

        def on_event(event: Any) -> None:
            if isinstance(event, ToolStart):
                tasks.start_soon(session.abort, "cancelled")

        session.on_event(on_event)
        result = await session.wait_for_completion()
    assert (result.error_category, result.failure_reason) == ("aborted", "Aborted: cancelled")
    assert result.cost
    assert result.cost.input_tokens == 1000
    assert not any(marker in command for command in processes().values())


async def test_no_secret_is_in_the_journal(rig: CliRig) -> None:
    config = rig.config("[[bash:echo swarm-api-key-0001]]")
    config.redactor.add("AGENT_SWARM_API_KEY", config.api_key)
    session = await ClaudeAdapter().create_session(config)
    await session.wait_for_completion()
    assert b"swarm-api-key-0001" not in config.log_file.read_bytes()
    assert list(config.private_dir.iterdir()) == []
