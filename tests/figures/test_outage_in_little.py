"""The benchmark `make outage`, shortened to seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.outage import LINES, QUICK, Outage, play

pytestmark = [pytest.mark.anyio, pytest.mark.long]


async def test_a_killed_api_costs_a_running_task_nothing(tmp_path: Path):
    outcome = await play(Outage(kind="kill", outage_s=20, scale=QUICK), tmp_path)
    assert outcome.is_right, outcome
    assert outcome.printed_meanwhile > LINES / 3
    assert outcome.caught_up_s is not None
