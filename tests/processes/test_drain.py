"""Draining output that background processes may hold open."""

from __future__ import annotations

import anyio
import pytest
from hostile import PatientClock, numbers, python, spec
from patience import HANG_S

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.processes.pipes import drain, pump
from agent_swarm_worker.processes.spawn import spawn
from agent_swarm_worker.processes.stop_tree import sweep

pytestmark = pytest.mark.anyio
CLOCK = SystemClock()


async def test_both_pipes_are_read_to_their_end(tag, tmp_path):
    source = "sys.stderr.write('e' * 3_000_000); sys.stdout.write('o' * 3_000_000)"
    out, err = bytearray(), bytearray()
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        complete = await drain(
            child.wait,
            lambda: pump(child.stdout, out.extend),
            lambda: pump(child.stderr, err.extend),
            clock=CLOCK,
            drain_s=30,
        )
        assert complete
        assert await child.wait() == 0
    assert (len(out), len(err)) == (3_000_000, 3_000_000)


async def test_a_grandchild_that_holds_the_pipe_does_not_hold_the_reader(tag, tmp_path):
    source = """
    if fork():
        os.setsid()
        deaf()
        say(os.getpid())
        rest()
    sys.stdin.read()
    sys.stdout.write("x" * 50_000 + "last")
    """
    out = bytearray()
    async with await spawn(spec(python(tmp_path, source), tag, stdin=True)) as child:
        await numbers(child)
        await child.close_stdin()
        with anyio.fail_after(HANG_S):
            complete = await drain(
                child.wait, lambda: pump(child.stdout, out.extend), clock=CLOCK, drain_s=0.1
            )
        assert not complete
        assert out.endswith(b"xlast")
        assert len(out) == 50_004
        await sweep(tag, clock=CLOCK, leader=child)


async def test_the_time_begins_with_the_exit_not_before(tag):
    clock = PatientClock()
    async with (
        await spawn(spec(("cat",), tag, stdin=True)) as child,
        anyio.create_task_group() as tasks,
    ):
        results: list[bool] = []

        async def run() -> None:
            results.append(
                await drain(child.wait, lambda: pump(child.stdout, lambda _: None), clock=clock)
            )

        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        assert clock.monotonic() == 0
        await child.close_stdin()
        await child.wait()
    assert len(results) == 1


async def test_a_pump_ends_quietly_when_the_stream_is_closed(tag):
    async with (
        await spawn(spec(("sleep", "600"), tag)) as child,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(pump, child.stdout, lambda _: None)
        await anyio.wait_all_tasks_blocked()
        await child.aclose()
        await sweep(tag, clock=CLOCK, leader=child)
        await child.wait()
