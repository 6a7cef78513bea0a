"""A session over real HTTP, in both wire formats: what goes in, what comes out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fake_model import FakeModel, Turn
from pi_rig import Place, run

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("api", ["openai", "anthropic"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@BOTH
async def test_a_task_with_tools(place: Place, api: str):
    turns = (
        Turn("Looking.", [("write", {"path": "a.txt", "content": "one\n"})], cached=40),
        Turn("Reading.", [("read", {"path": "a.txt"}), ("ls", {"path": "."})]),
        Turn("All done.", input_tokens=300),
    )
    async with FakeModel(*turns) as model:
        ran = await run(place, model, api)
    assert not ran.result.is_error, ran.result
    assert ran.result.output == "All done."
    assert (place.root / "work/a.txt").read_text() == "one\n"
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
    assert ran.events[-1].type == "result" or ran.of("result")[0].output == "All done."


def test_the_libraries_of_models_and_tool_servers_are_loaded_by_a_session_that_needs_them():
    modules = "agent_swarm_worker.providers.pi.session, agent_swarm_worker.providers.pi.mcp_tools"
    code = f"import sys, {modules}; print({{'pydantic_ai', 'mcp'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
