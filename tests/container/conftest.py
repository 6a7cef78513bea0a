"""Make `container_rig` importable for these tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from container_rig import Box, ScriptedApi


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi() as served:
        yield served


@pytest.fixture
def box(tmp_path: Path, api: ScriptedApi) -> Box:
    return Box(tmp_path, api.url)
