"""A session over real HTTP, in both wire formats: requests and events."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fake_model import FakeModel, Turn
from pi_rig import SessionDirs, run

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("api", ["openai", "anthropic"])


@pytest.fixture
def dirs(tmp_path: Path) -> SessionDirs:
    return SessionDirs(tmp_path)


@BOTH
async def test_a_task_with_tools(dirs: SessionDirs, api: str):
    turns = (
        Turn("Looking.", [("write", {"path": "a.txt", "content": "one\n"})], cached=40),
        Turn("Reading.", [("read", {"path": "a.txt"}), ("ls", {"path": "."})]),
        Turn("All done.", input_tokens=300),
    )
    async with FakeModel(*turns) as model:
        ran = await run(dirs, model, api)
    assert not ran.result.is_error, ran.result
    assert ran.result.output == "All done."
    assert (dirs.root / "work/a.txt").read_text() == "one\n"
    assert [event.content for event in ran.of("message")] == ["Looking.", "Reading.", "All done."]
    assert [event.tool_name for event in ran.of("tool_start")] == ["write", "read", "ls"]
    assert not any(event.is_error for event in ran.of("tool_end"))
    cost = ran.result.cost
    assert cost is not None
    assert (cost.input_tokens, cost.cache_read_tokens, cost.output_tokens) == (500, 40, 30)
    assert (cost.num_turns, cost.provider) == (3, "pi")
    assert [event.context_used_tokens for event in ran.of("context_usage")] == [150, 110, 310]
    (init,) = ran.of("session_init")
    assert init.session_id == ran.result.session_id
    assert [event.output for event in ran.of("result")] == ["All done."]
    assert ran.events[-1].type == "result"


def test_the_libraries_of_models_and_tool_servers_are_loaded_by_a_session_that_needs_them():
    package = "agent_swarm_worker.providers.pi"
    code = (
        "import sys\n"
        f"import {package}.adapter, {package}.session, {package}.tools\n"
        "print({'pydantic_ai', 'mcp'} & set(sys.modules))\n"
        f"import {package}.agent, {package}.history, {package}.model_requests\n"
        "print({'pydantic_ai', 'mcp'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()", "{'pydantic_ai'}"]
