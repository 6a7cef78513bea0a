"""A short chaos run: each fault once or twice, and no differences."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.plan import make_plan
from chaos.report import table
from chaos.runner import Runner

SEED, FAULTS, SECONDS, SCALE = 7, 22, 30.0, 0.35


@pytest.fixture(autouse=True)
def sigint_counts() -> Iterator[None]:
    """Undo what a shell does to the jobs in its background: they and their children ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.anyio
@pytest.mark.long
@pytest.mark.timeout(150)
async def test_a_minute_of_chaos(tmp_path: Path):
    plan = make_plan(SEED, FAULTS, SECONDS, scale=SCALE, has_disk=False)
    report = await Runner(tmp_path, plan, seed=SEED, slots=3, strict=False, say=print).run()
    print(table(report.rows))
    assert {row.name: row.wrong for row in report.rows if row.wrong} == {}
    assert report.runs >= 5
    assert report.harmed >= 5
