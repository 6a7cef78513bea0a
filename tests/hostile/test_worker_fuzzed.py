"""A worker survives an API that lies in every answer, and writes only in its directories."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from fuzz_rig import fuzz, still_works

pytestmark = pytest.mark.anyio


async def test_lies_cost_a_worker_nothing_but_their_tasks(tmp_path: Path) -> None:
    async with fuzz(tmp_path) as (rig, proxy):
        proxy.is_lying = True
        for _ in range(3):
            await rig.submit()
            await anyio.sleep(0.3)
        proxy.is_lying = False
        assert len(proxy.lies) > 4, proxy.lies
        assert proxy.lies["a trigger"]
        await still_works(rig)


async def test_a_boot_among_lies_ends_in_work_all_the_same(tmp_path: Path) -> None:
    async with fuzz(tmp_path, lies_at_boot=True) as (rig, proxy):
        with anyio.move_on_after(10):
            while proxy.lies.total() < 12:
                await anyio.sleep(0.01)
        proxy.is_lying = False
        await still_works(rig)
