"""Make `cli_rig` importable for these tests, and give each a directory of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_swarm_worker import logs

sys.path.insert(0, str(Path(__file__).parent))

from cli_rig import bare_env


@pytest.fixture(autouse=True)
def sigint_counts() -> Iterator[None]:
    """Undo what a shell does to the jobs in its background: they and their children ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment of this process for a test that calls `main`; nothing of the real one."""
    own = bare_env(tmp_path)
    monkeypatch.setattr(os, "environ", own)
    yield own
    logs.reset()
