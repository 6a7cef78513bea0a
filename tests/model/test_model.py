"""Stories of a swarm, told by chance, and the promises that hold in each of them."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from machine import Story

QUICK = settings(max_examples=60, stateful_step_count=25)


def test_no_story_breaks_a_promise():
    run_state_machine_as_test(Story, settings=QUICK)
