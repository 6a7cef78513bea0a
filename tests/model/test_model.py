"""Random, repeatable stories of a swarm keep the invariants."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from machine import Story

QUICK = settings(max_examples=12, stateful_step_count=20)


@pytest.mark.timeout(300)
def test_no_story_breaks_a_promise():
    run_state_machine_as_test(Story, settings=QUICK)
