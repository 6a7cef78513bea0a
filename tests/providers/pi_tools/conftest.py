"""Make the rigs importable here, and let no process outlive a test."""

from __future__ import annotations

import signal
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.stop_tree import find, kill

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def sigint_is_on() -> Iterator[None]:
    """Undo what a shell does to the jobs in its background: they and their children ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def tag() -> Iterator[str]:
    """A session's tag of which nothing may be left at the end of the test."""
    value = str(uuid.uuid4())
    yield value
    for _ in range(100):
        if not (left := find(value)):
            return
        time.sleep(0.01)  # what was killed a moment ago may still be on its way out
    commands = [procfs.command_line(info.pid) for info in left]
    kill(left)
    pytest.fail(f"outlived the test: {commands}")
