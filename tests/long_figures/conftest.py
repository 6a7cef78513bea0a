"""Makes the benchmarks importable, and the rig of the worker's tests."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "worker")]


@pytest.fixture(autouse=True)
def sigint_counts() -> Iterator[None]:
    """Undo what a shell does to the jobs in its background: they and their children ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
