"""Makes `rig` and its neighbours importable for the tests of this folder."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tenacity import wait_random_exponential

from agent_swarm_worker.outbox import retries

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def sigint_counts() -> Iterator[None]:
    """Undo what a shell does to the jobs in its background: they and their children ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker in this process tries again soon: the pauses are random, and up to 30 s each."""
    monkeypatch.setattr(retries, "_backoff", wait_random_exponential(multiplier=0.1, max=1.0))
