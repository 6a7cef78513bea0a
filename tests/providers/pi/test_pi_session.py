"""A session over real HTTP, in both wire formats: requests and events."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import pytest
from fake_model import FakeModel, Turn
from patience import until
from pi_rig import SessionDirs, run, start
from scripted_gate import DENIAL, ScriptedGate

from agent_swarm_worker.contract import Progress
from agent_swarm_worker.contract.listening import ByteRange

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


@BOTH
async def test_under_a_gate_each_call_is_asked_about_before_it_runs(dirs: SessionDirs, api: str):
    turns = (
        Turn("Looking.", [("write", {"path": "a.txt", "content": "one\n"})]),
        Turn("Reading.", [("write", {"path": "b.txt", "content": "x"}), ("ls", {"path": "."})]),
        Turn("All done."),
    )
    gate = ScriptedGate("a.txt")
    async with FakeModel(*turns) as model:
        ran = await run(dirs, model, api, permissions=gate)
        assert DENIAL in str(model.requests[1])
    assert gate.asked == ["write", "write", "ls"]
    assert [event.is_allowed for event in ran.of("permission_decided")] == [False, True, True]
    assert [event.is_error for event in ran.of("tool_end")] == [True, False, False]
    assert [path.name for path in (dirs.root / "work").iterdir()] == ["b.txt"]
    order = [event.type for event in ran.events if event.type in ("tool_start", "tool_end")]
    assert order.index("tool_start") < order.index("tool_end")


@pytest.mark.long
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


class Heard:
    """A sink that counts what it is told of."""

    def __init__(self) -> None:
        self.times = 0

    def wrote(self, written: ByteRange) -> None: ...

    def switched(self, path: Path, start: int) -> None: ...

    def received(self, lines: Sequence[bytes]) -> None:
        self.times += 1

    def unwritten(self, lines: bytes) -> None: ...


def command_that_prints(said: str, folder: Path) -> str:
    wait = f"until [ -e {folder}/go ]; do sleep 0.05; done"
    say = f"until [ -e {folder}/say ]; do sleep 0.05; done; printf '{said}'"
    return f"touch {folder}/on; {say}; {wait}"


@pytest.mark.parametrize("said", ["...", "5%%\\r10%%", "half of a long line", " "], ids=range(4))
async def test_bytes_of_a_command_without_a_line_end_are_signs_of_life(
    dirs: SessionDirs, said: str
):
    command, heard = command_that_prints(said, dirs.root), Heard()
    turns = Turn("", [("bash", {"command": command})]), Turn("Done.")
    async with FakeModel(*turns) as model, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(run, dirs, model, sink=heard))
        await until((dirs.root / "on").exists)
        before = heard.times
        (dirs.root / "say").touch()
        await until(lambda: heard.times > before)
        (dirs.root / "go").touch()


@pytest.mark.long
async def test_a_progress_bar_of_a_command_shows_its_newest_state(dirs: SessionDirs):
    bar = r"first\n5%%\r\033[K 10%%\r\033[32m 42%% of a-secret-of-mine\033[0m"
    dirs.scrubber.add("TOKEN", "a-secret-of-mine")
    (dirs.root / "say").touch()
    command = command_that_prints(bar, dirs.root)
    turns = Turn("", [("bash", {"command": command})]), Turn("Done.")
    async with FakeModel(*turns) as model, anyio.create_task_group() as tasks:
        session, events = await start(dirs.config(model.env("openai")))
        tasks.start_soon(session.wait_for_completion)

        def told() -> list[str]:
            return [event.message for event in events if isinstance(event, Progress)]

        await until(lambda: "42% of [REDACTED:TOKEN]" in told())
        (dirs.root / "go").touch()
    assert all(message.isprintable() for message in told())
