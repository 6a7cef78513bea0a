"""A worker is stopped at a bad moment; ``drain_matrix`` has all combinations."""

from __future__ import annotations

from pathlib import Path

import pytest
from drain_rig import CHILDREN, MOMENTS, TROUBLES, Case, all_cases, play

pytestmark = pytest.mark.anyio

SOME = [
    Case("running", "deaf", "hangs"),
    Case("running", "prints", "drips"),
    Case("running", "holds", "fails"),
    Case("running", "ends", "none"),
    Case("preparing", "ends", "drips"),
    Case("finishing", "ends", "hangs"),
    Case("boot", "ends", "hangs"),
    Case("idle", "ends", "fails"),
    Case("paused", "ends", "refuses"),
]


@pytest.mark.parametrize("case", SOME, ids=str)
async def test_it_ends_in_time_and_loses_nothing(tmp_path: Path, case: Case):
    await play(case, tmp_path)


def test_these_are_some_of_each():
    assert set(SOME) <= set(all_cases())
    for kinds, name in ((MOMENTS, "moment"), (CHILDREN, "child"), (TROUBLES, "trouble")):
        assert {getattr(case, name) for case in SOME} == set(kinds)
