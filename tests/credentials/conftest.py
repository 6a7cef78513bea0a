"""Make the helpers of this directory, of `cli` and of `worker` importable."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
for folder in ("cli", "worker", "credentials"):
    sys.path.insert(0, str(TESTS / folder))

from oauth_server import OAuthServer  # noqa: E402 - found by the line above


@pytest.fixture
def vendor() -> Iterator[OAuthServer]:
    """An OAuth server on loopback."""
    with OAuthServer() as server:
        yield server


@pytest.fixture(autouse=True)
def sigint_counts() -> Iterator[None]:
    """Undo what a shell does to the jobs in its background: they and their children ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
