"""Reaping adopted orphans, and no other children."""

from __future__ import annotations

import os
import subprocess

import anyio
import pytest
from hostile import numbers, python, spec
from patience import HANG_S

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.processes import procfs, subreaper
from agent_swarm_worker.processes.spawn import spawn
from agent_swarm_worker.processes.subreaper import adopt_orphans, reap_orphans, register, starting

pytestmark = pytest.mark.anyio
CLOCK = SystemClock()


class Zombie:
    """A direct child that has ended with 7 and that nobody has waited for yet."""

    def __init__(self, *, own_session: bool) -> None:
        self._process = subprocess.Popen(["sh", "-c", "exit 7"], start_new_session=own_session)
        self.pid = self._process.pid
        self.returncode: int | None = None
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def collect(self) -> int:
        self.returncode = self._process.wait()
        return self.returncode


async def test_what_asyncio_waits_for_keeps_its_exit_status():
    child = Zombie(own_session=True)
    register(child)
    assert child.pid not in reap_orphans()
    assert child.collect() == 7


async def test_what_other_code_started_keeps_its_exit_status():
    child = Zombie(own_session=False)
    assert child.pid not in reap_orphans()
    assert child.collect() == 7


async def test_nothing_is_reaped_while_a_start_is_under_way():
    with starting():
        child = Zombie(own_session=True)
        assert reap_orphans() == []
        register(child)
    assert child.pid not in reap_orphans()
    assert child.collect() == 7


async def test_a_start_holds_off_the_reaper(tag, monkeypatch):
    seen: list[int] = []
    start = anyio.open_process

    async def watch(*args: object, **kwargs: object) -> object:
        seen.append(subreaper._registry.starting)
        return await start(*args, **kwargs)

    monkeypatch.setattr(anyio, "open_process", watch)
    async with await spawn(spec(("sh", "-c", "read x; exit 7"), tag, stdin=True)) as child:
        assert child.pid in subreaper._registry.watched_pids()
        await child.close_stdin()
        assert await child.wait() == 7
        assert child.pid not in subreaper._registry.watched_pids()
    assert seen == [1]
    assert subreaper._registry.starting == 0


async def test_many_quick_children_under_an_eager_reaper(tag):
    codes: list[int] = []

    async def run(code: int) -> None:
        async with await spawn(spec(("sh", "-c", f"exit {code}"), tag)) as child:
            codes.append(await child.wait())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: adopt_orphans(clock=CLOCK, interval_s=0))
        async with anyio.create_task_group() as children:
            for code in range(1, 31):
                children.start_soon(run, code)
        tasks.cancel_scope.cancel()
    assert sorted(codes) == list(range(1, 31))


async def test_an_orphan_is_adopted_and_reaped(tag, tmp_path):
    source = """
    if fork():
        os.setsid()
        if fork():
            say(os.getpid())
            sys.stdin.read()
            os._exit(0)
        os._exit(0)
    os.wait()
    """
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: adopt_orphans(clock=CLOCK, interval_s=0.01))
        await anyio.wait_all_tasks_blocked()
        async with await spawn(spec(python(tmp_path, source), tag, stdin=True)) as child:
            (orphan,) = await numbers(child)
            assert await child.wait() == 0
            assert procfs.inspect(orphan).parent == os.getpid()
            await child.close_stdin()
            with anyio.fail_after(HANG_S):
                while procfs.inspect(orphan) is not None:
                    await CLOCK.sleep(0.005)
        tasks.cancel_scope.cancel()
