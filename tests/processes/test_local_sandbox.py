"""The sandbox of this machine, as the layers above see it."""

from __future__ import annotations

import io
import json
import signal
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hostile import is_alive, numbers, python, settled, spec, until

from agent_swarm_worker import logs
from agent_swarm_worker.processes.keeper import Kept
from agent_swarm_worker.processes.kill_ladder import Step
from agent_swarm_worker.sandboxes.local import LocalSandbox

if TYPE_CHECKING:
    from agent_swarm_worker.sandboxes.port import Sandbox, SandboxChild

pytestmark = pytest.mark.anyio
QUICK = (Step(signal.SIGINT, 0.1), Step(signal.SIGKILL, 1.0))


@pytest.fixture
def lines() -> io.StringIO:
    stream = io.StringIO()
    logs.configure(human=False, stream=stream)
    return stream


async def test_it_starts_and_ends_and_tells_what_it_swept(tag, tmp_path, lines):
    sandbox: Sandbox = LocalSandbox(ladder=QUICK)
    steps: list[str] = []
    source = """
    deaf()
    if fork():
        os.setsid()
        say(os.getpid())
    rest()
    """
    child: SandboxChild = await sandbox.start(spec(python(tmp_path, source), tag))
    async with child:
        (grandchild,) = await numbers(child)
        report = await sandbox.end(child, on_step=lambda name, _: steps.append(name))
    assert (report.exit_code, steps) == (137, ["SIGINT", "SIGKILL", "sweep"])
    assert not is_alive(grandchild)
    (line,) = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert line["event"] == "process.swept"
    assert (line["tag"], line["count"], line["ended"]) == (tag, 1, True)
    assert "program-" in line["commands"][0]
    assert child.label == f"pid {child.pid}"


async def test_it_kills_without_asking(tag, lines):
    sandbox = LocalSandbox()
    async with await sandbox.start(spec(("sleep", "600"), tag)) as child:
        assert (await sandbox.kill(child)).exit_code == 137
    assert lines.getvalue() == ""


async def test_it_sweeps_what_a_crashed_worker_left(tag, lines):
    sandbox = LocalSandbox()
    async with await settled(await sandbox.start(spec(("sleep", "600"), tag))) as child:
        report = await LocalSandbox().sweep(tag)
        assert [swept.pid for swept in report.killed] == [child.pid]
        assert await child.wait() == 137
    assert "process.swept" in lines.getvalue()


async def test_what_was_said_is_kept_until_somebody_has_made_it_safe(tag, tmp_path):
    program = replace(spec(python(tmp_path, "say(7)\nrest()"), tag), kept=True)
    async with await LocalSandbox().start(program) as child:
        assert await numbers(child) == [7]
        with suppress(InterruptedError):
            async with LocalSandbox().collect(tag):
                raise InterruptedError
        async with LocalSandbox().collect(tag) as left:
            assert [stream.rest(0) for stream in left.stdout] == [b"7\n"]
        await until(lambda: not Kept(tag).left.stdout)


async def test_it_ends_only_what_is_its_own():
    class Elsewhere:
        label = "container 7"

    with pytest.raises(TypeError, match="container 7"):
        await LocalSandbox().end(Elsewhere())
