"""A worker killed at any point of a task loses nothing and repeats nothing."""

from __future__ import annotations

import pytest
from kill_points import killed_after
from network import Fault

LAST = 190
"""A short task has about as many instants."""
EVERY = 13
"""A sample; `test_model_deep` takes them all."""


@pytest.mark.parametrize("instants", range(0, LAST, EVERY))
def test_killed_at_some_instant(instants: int):
    killed_after(instants)


def test_killed_while_the_line_is_bad():
    killed_after(120, line=Fault.LOST)


def test_the_sample_goes_to_the_end_of_the_task():
    assert not killed_after(LAST * 3)
