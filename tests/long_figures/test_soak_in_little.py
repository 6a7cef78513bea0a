"""The benchmark `make soak`, in a minute; and every outage of `make outage` in little."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.outage import KINDS, OUTAGES_S, QUICK, Outage, play
from benchmarks.soak import soak
from benchmarks.soak_report import verdict

pytestmark = [pytest.mark.long, pytest.mark.anyio, pytest.mark.timeout(300)]


async def test_nothing_grows_and_nothing_is_left(tmp_path: Path):
    told = await soak(1.0, 40, tmp_path)
    # A minute among other tests has no slope worth the name; what is held and left is counted.
    assert [fault for fault in verdict(told) if not fault.endswith(" grows")] == []
    assert told["tasks"] == 41
    assert told["lines"] == 40 * 20 + 300


@pytest.mark.parametrize("outage_s", OUTAGES_S)
@pytest.mark.parametrize("kind", KINDS)
async def test_no_outage_costs_anything(tmp_path: Path, kind: str, outage_s: float):
    outcome = await play(Outage(kind=kind, outage_s=outage_s, scale=QUICK), tmp_path)
    assert outcome.is_right, outcome
