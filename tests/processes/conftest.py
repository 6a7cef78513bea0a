"""Fixture `tag`: each test has a tag of its own and leaves no process that carries it."""

from __future__ import annotations

import signal
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.stop_tree import find, kill

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def signals_count() -> Iterator[None]:
    """Undo what nohup and a shell's background do: we and our children would ignore these."""
    defaults = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGQUIT: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def tag() -> Iterator[str]:
    value = str(uuid.uuid4())
    yield value
    for _ in range(100):
        left = find(value)
        if not left:
            return
        time.sleep(0.01)  # what was killed a moment ago may still be on its way out
    commands = [procfs.command_line(info.pid) for info in left]
    kill(left)
    pytest.fail(f"outlived the test: {commands}")
