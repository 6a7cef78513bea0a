"""A worker that is killed at any instant of a task's life loses nothing and does nothing twice."""

from __future__ import annotations

import pytest
from instants import killed_after

LAST = 170
"""More instants than a short task has."""
EVERY = 11
"""A sample; `test_model_deep` takes them all."""


@pytest.mark.parametrize("instants", range(0, LAST, EVERY))
def test_killed_at_some_instant(instants: int):
    killed_after(instants)
