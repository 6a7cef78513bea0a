"""Makes the helpers of this folder and of its neighbours importable."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / folder) for folder in ("hostile", "worker", "swarm", "local_swarm")]


@pytest.fixture(autouse=True)
def sigint_counts() -> Iterator[None]:
    """Undo what a shell does to the jobs in its background: they and their children ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
