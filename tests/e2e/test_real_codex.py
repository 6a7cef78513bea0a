"""The real codex CLI through our adapter, over both transports, against the scripted model."""

from __future__ import annotations

import json
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from real_cli_rig import CliRig, Ran, cli_rig, jwt, processes
from real_codex import PROGRAM, TRANSPORTS, codex_env

from agent_swarm_worker.contract import McpServer, ToolEnd, ToolStart
from agent_swarm_worker.providers.codex.adapter import CodexAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

STORE = "mcp__agent-swarm__store-progress"
GONE = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(params=TRANSPORTS)
async def rig(
    tmp_path: Path, anyio_backend: str, request: pytest.FixtureRequest
) -> AsyncIterator[CliRig]:
    env_of = partial(codex_env, CODEX_TRANSPORT=request.param)
    async with cli_rig(tmp_path, PROGRAM, CodexAdapter(), env_of, request.param) as ready:
        yield ready


@pytest.mark.parametrize("model", ["", "gpt-5.5"])
async def test_a_prompt_a_tool_and_an_answer(rig: CliRig, model: str) -> None:
    """The two models get their tools in two different ways."""
    ran = await rig.run("[[bash:echo $AGENT_SWARM_TASK_ID]] [[say:Ran it.]]", model=model)
    assert (ran.result.is_error, ran.result.output) == (False, "Ran it.")
    assert [start.tool_name for start in ran.of(ToolStart)] == ["bash"]
    (end,) = ran.of(ToolEnd)
    assert "task-1\n" in (end.result.get("aggregatedOutput"), end.result.get("aggregated_output"))
    assert ran.result.cost
    assert (ran.result.cost.input_tokens, ran.result.cost.cache_read_tokens) == (8000, 6000)
    assert ran.result.cost.total_cost_usd
    assert rig.model.requests[0].body["model"] == (model or "gpt-5.6-terra")


async def test_it_leaves_at_once(rig: CliRig) -> None:
    """With its telemetry on, the CLI waits five seconds for a server it cannot reach."""
    ran = await rig.run("[[say:ok]]")
    assert ran.result.cost
    assert (ran.result.cost.duration_ms or 0) < 4500
    assert ran.result.exit_code == 0


@pytest.mark.parametrize("model", ["", "gpt-5.5"])
async def test_the_swarms_tools_are_found_and_know_the_task(rig: CliRig, model: str) -> None:
    ran = await rig.run(f'[[tool:{STORE} {{"progress":"half way"}}]]', model=model)
    assert not ran.result.is_error
    assert rig.tools.calls == ["half way"]
    for headers in rig.tools.headers:
        assert headers["authorization"] == "Bearer swarm-api-key-0001"
        assert (headers["x-agent-id"], headers["x-source-task-id"]) == ("agent-1", "task-1")
    (start,) = ran.of(ToolStart)
    assert start.tool_name == "store-progress"
    assert start.args["server"] == "agent-swarm"
    assert start.args["arguments"] == {"progress": "half way"}


async def test_a_server_that_is_slow_to_start_is_waited_for(rig: CliRig) -> None:
    """The CLI itself begins after a second, and the agent would miss the swarm's tools."""
    rig.tools.delay_s = 2.5
    ran = await rig.run(f'[[tool:{STORE} {{"progress":"late"}}]]')
    assert (ran.result.is_error, rig.tools.calls) == (False, ["late"])


async def test_a_dead_server_costs_its_tools_only(rig: CliRig) -> None:
    dead = McpServer(name="gone", transport="http", url="http://127.0.0.1:9/mcp")
    events = McpServer(name="old", transport="sse", url="http://127.0.0.1:9/sse")
    said = '[[tool:mcp__agent-swarm__store-progress {"progress":"x"}]] [[say:ok]]'
    ran = await rig.run(said, mcp_servers=(dead, events))
    assert (ran.result.is_error, rig.tools.calls) == (False, ["x"])


async def test_a_server_whose_name_has_dots(rig: CliRig) -> None:
    url = f"{rig.tools_url}/mcp"
    dotted = McpServer(name="my.dotted-server", transport="http", url=url)
    ran = await rig.run(
        '[[tool:mcp__my.dotted-server__store-progress {"progress":"dots"}]]', mcp_servers=(dotted,)
    )
    assert not ran.result.is_error
    assert rig.tools.calls == ["dots"]


@pytest.mark.parametrize(
    "prompt",
    ["--help", "-x", "/nosuch thing", "@nothing", "x" * 300_000, "é\n😀"],
    ids=lambda p: p[:9],
)
async def test_any_prompt_reaches_the_model(rig: CliRig, prompt: str) -> None:
    ran = await rig.run(prompt, system_prompt="You are one of many. ☂")
    assert not ran.result.is_error
    (request,) = rig.model.requests
    assert request.prompt == prompt
    assert "You are one of many. ☂" in request.system


async def test_a_resumed_session_goes_on_and_is_billed_for_what_is_new(
    rig: CliRig,
) -> None:
    """The second session has a home of its own: only the record is where the first one left it."""
    first = await rig.run("[[say:First.]]", system_prompt="Old orders.")
    session_id = first.result.session_id
    assert session_id
    assert await CodexAdapter().can_resume(session_id, first.config)
    shutil.rmtree(first.config.private_dir)
    second = await rig.run(
        "[[say:Second.]]", resume_session_id=session_id, system_prompt="New orders."
    )
    assert (second.result.session_id, second.result.output) == (session_id, "Second.")
    assert "First." in rig.body
    assert "New orders." in rig.body, "a resumed thread keeps its old instructions"
    assert first.result.cost
    assert second.result.cost
    assert second.result.cost.input_tokens == first.result.cost.input_tokens == 4000
    assert second.result.cost.total_cost_usd == pytest.approx(first.result.cost.total_cost_usd)


@pytest.mark.parametrize("asked", [GONE, "no-uuid", "--last"])
async def test_a_session_that_is_gone_is_begun_afresh(rig: CliRig, asked: str) -> None:
    config = rig.config("[[say:Wrong.]]", resume_session_id=asked)
    assert not await CodexAdapter().can_resume(asked, config)
    ran = await rig.run("[[say:Wrong.]]", resume_session_id=asked, fresh_prompt="[[say:Fresh.]]")
    assert (ran.result.is_error, ran.result.output) == (False, "Fresh.")


async def test_a_record_the_cli_cannot_read_is_begun_afresh(rig: CliRig) -> None:
    config = rig.config("[[say:Wrong.]]")
    folder = rig.folder / "home/.codex/sessions/2026/01/01"
    folder.mkdir(parents=True)
    (folder / f"rollout-2026-01-01T00-00-00-{GONE}.jsonl").write_text("{}\n")
    assert await CodexAdapter().can_resume(GONE, config)
    ran = await rig.run("[[say:Wrong.]]", resume_session_id=GONE, fresh_prompt="[[say:Fresh.]]")
    assert (ran.result.is_error, ran.result.output) == (False, "Fresh.")


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("[[fail:401]]", "authentication_failed"),
        ("[[fail:429]]", "rate_limit"),
        ("[[fail:500]]", "server_error"),
        ("[[fail:404 The model `x` does not exist]]", "model_not_found"),
    ],
)
async def test_errors_of_the_model_api(rig: CliRig, prompt: str, category: str) -> None:
    ran = await rig.run(prompt)
    # A failed server is told as an overloaded one, the status being lost.
    accepted = {category, "overloaded"} if category == "server_error" else {category}
    assert ran.result.is_error
    assert ran.result.error_category in accepted
    assert ran.result.exit_code == 1


async def test_a_model_that_cannot_be_reached_ends_the_session(rig: CliRig) -> None:
    """The CLI itself would try for ever."""
    env = {"CODEX_NETWORK_TIMEOUT_SECONDS": "0"}
    config = rig.config("hello", env=env, result_grace_s=1.0)
    path = rig.folder / "home/.codex/config.toml"
    path.write_text(path.read_text().replace(rig.model.url, "http://127.0.0.1:9"))
    session = await CodexAdapter().create_session(config)
    result = await session.wait_for_completion()
    assert (result.is_error, result.error_category) == (True, "network")
    assert "no answer for" in (result.failure_reason or "")


async def test_a_login_is_preferred_to_a_key(rig: CliRig) -> None:
    access = jwt(**{"https://api.openai.com/auth": {"chatgpt_account_id": "account-7"}})
    login = {"access": access, "refresh": "r-1", "expires": 4_000_000_000_000, "accountId": "a"}
    ran = await rig.run(
        "[[bash:echo key=$OPENAI_API_KEY.$CODEX_OAUTH.]]",
        env={"CODEX_OAUTH": json.dumps(login), "CODEX_OAUTH_POOLED": "1"},
    )
    assert not ran.result.is_error
    assert rig.model.requests[0].headers["authorization"] == f"Bearer {access}"
    (end,) = ran.of(ToolEnd)
    assert "key=.." in json.dumps(end.result), "the agent's tools see neither"


async def test_a_key_is_enough(rig: CliRig) -> None:
    ran = await rig.run("[[say:ok]]")
    assert not ran.result.is_error
    assert rig.model.requests[0].headers["authorization"] == "Bearer sk-scripted-0001"


@pytest.mark.parametrize(
    ("model", "level", "sent", "applied"),
    [("opus", "low", "low", "low"), ("gpt-5.5", "off", "none", "off"), ("haiku", None, None, None)],
)
async def test_reasoning_effort_reaches_the_model(
    rig: CliRig, model: str, level: str | None, sent: str | None, applied: str | None
) -> None:
    ran = await rig.run("[[say:ok]]", model=model, reasoning_effort=level)
    if sent:
        assert rig.model.requests[0].body["reasoning"]["effort"] == sent
    assert ran.result.applied_reasoning_effort == applied


async def test_no_secret_is_in_the_arguments_or_left_on_disk(rig: CliRig) -> None:
    secret = McpServer(
        name="other", transport="http", url="http://127.0.0.1:9/mcp", headers={"X-Key": "hidden-77"}
    )
    config = rig.config(
        "[[bash:sleep 0.5]]", system_prompt="secret-orders-1", mcp_servers=(secret,)
    )
    session = await CodexAdapter().create_session(config)
    seen: list[str] = []

    def on_event(event: Any) -> None:
        if isinstance(event, ToolStart):
            seen.extend(processes().values())

    session.on_event(on_event)
    await session.wait_for_completion()
    assert any("codex" in command for command in seen)
    secrets = ("sk-scripted-0001", "swarm-api-key-0001", "hidden-77", "secret-orders-1")
    assert not [command for command in seen if any(secret in command for secret in secrets)]
    home = config.private_dir / "codex-home"
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "auth.json").stat().st_mode & 0o777 == 0o600
    assert not (home / "config.toml").exists()


async def test_sessions_side_by_side_have_homes_of_their_own(rig: CliRig) -> None:
    results: list[Ran] = []
    keys = ("sk-scripted-000A", "sk-scripted-000B")

    async def one(key: str) -> None:
        env = {"OPENAI_API_KEY": key}
        results.append(await rig.run(f"[[bash:sleep 1]] [[say:{key}]]", env=env))

    async with anyio.create_task_group() as tasks:
        for key in keys:
            tasks.start_soon(one, key)
    assert {ran.result.output for ran in results} == set(keys)
    for request in rig.model.requests:
        assert request.headers["authorization"].removeprefix("Bearer ") in request.prompt


async def test_an_abort_in_a_tool_leaves_no_process(rig: CliRig) -> None:
    marker = f"time.sleep({30 + rig.runs}.{4711 + len(rig.transport)})"
    config = rig.config(f"[[bash:setsid python3 -c 'import time; {marker}']]")
    session = await CodexAdapter().create_session(config)
    async with anyio.create_task_group() as tasks:

        def on_event(event: Any) -> None:
            if isinstance(event, ToolStart):
                tasks.start_soon(session.abort, "cancelled")

        session.on_event(on_event)
        result = await session.wait_for_completion()
    assert (result.error_category, result.failure_reason) == ("aborted", "Aborted: cancelled")
    assert not [pid for pid, command in processes().items() if marker in command]


async def test_the_system_prompt_by_agents_md(rig: CliRig) -> None:
    env = {"CODEX_SYSTEM_PROMPT": "agents-md"}
    config = rig.config("", env=env)
    notes = config.cwd / "AGENTS.md"
    notes.write_bytes(b"Their notes.\r\n\xff")
    ran = await rig.run("[[say:ok]]", env=env, system_prompt="Orders $& $' <b>.")
    assert not ran.result.is_error
    assert "Orders $& $' <b>." in json.dumps(rig.model.requests[0].body)
    assert "Their notes." in json.dumps(rig.model.requests[0].body)
    assert notes.read_bytes() == b"Their notes.\r\n\xff"
