"""Fuzzes a worker process for longer, and checks its memory."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from fuzz_rig import foreign_files, fuzz, fuzzed_env, seeded, still_works
from lying_proxy import LyingProxy
from rig import swarm_rig
from worker_process import worker_process

from agent_swarm_worker.logs import Event

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
MAX_GROWTH_KB = 150 * 1024


async def test_lies_do_not_fill_the_memory(tmp_path: Path) -> None:
    proxy = LyingProxy(seeded(tmp_path))
    with proxy.before_every_swarm():
        async with swarm_rig(tmp_path) as rig:
            before = foreign_files(tmp_path)
            env = {**rig.env, **fuzzed_env(tmp_path)}
            async with worker_process(tmp_path, env) as worker:
                await worker.until_logged(Event.WORKER_STARTED)
                await still_works(rig)
                at_first_kb = peak_kb(worker.pid)
                proxy.is_lying = True
                while proxy.lies.total() < 150:
                    await rig.submit()
                    await anyio.sleep(0.5)
                proxy.is_lying = False
                await still_works(rig)
                assert peak_kb(worker.pid) - at_first_kb < MAX_GROWTH_KB
                worker.signal()
                assert await worker.exit_code(within_s=30) == 0
    gone = {name: content for name, content in foreign_files(tmp_path).items() if name in before}
    assert gone == before


async def test_a_long_fuzz(tmp_path: Path) -> None:
    async with fuzz(tmp_path) as (rig, proxy):
        for _ in range(3):
            proxy.is_lying = True
            for _ in range(25):
                await rig.submit()
                await anyio.sleep(0.2)
            proxy.is_lying = False
            await still_works(rig)


def peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
