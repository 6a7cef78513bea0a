"""Many sessions at the same time: each is told of as if it were alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from crowd import a_crowd_at_once

pytestmark = pytest.mark.anyio


async def test_twelve_sessions_are_kept_apart(tmp_path: Path):
    await a_crowd_at_once(tmp_path, 12)
