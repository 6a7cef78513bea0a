"""A worker is stopped at every moment, with every kind of child and API fault."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from drain_rig import Case, all_cases, play

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("case", all_cases(), ids=str)
async def test_it_ends_in_time_and_loses_nothing(tmp_path: Path, case: Case):
    await play(case, tmp_path)
