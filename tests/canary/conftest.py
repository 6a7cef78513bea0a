"""Make the worker's rig, the fake model and the independent encoders importable here."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
for _folder in ("canary", "guards", "e2e", "providers/pi", "worker"):
    sys.path.insert(0, str(_TESTS / _folder))


@pytest.fixture(autouse=True)
def sigint_counts() -> Iterator[None]:
    """Undo what a shell does to the jobs in its background: they and their children ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
