"""Many more random stories, and a kill at every point.

For `make test-long`. ``MODEL_EXAMPLES`` says how many stories; a failure prints the seed to repeat
it with.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from kill_points import killed_after
from machine import Story
from network import AMBIGUOUS, Fault

pytestmark = [pytest.mark.long, pytest.mark.timeout(0)]
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "40"))
ENDLESS = 1000


def test_no_story_breaks_a_promise_however_many_are_told():
    deep = settings(
        max_examples=EXAMPLES, stateful_step_count=40, derandomize=False, print_blob=True
    )
    run_state_machine_as_test(Story, settings=deep)


@pytest.mark.parametrize("line", [None, *AMBIGUOUS])
def test_a_worker_may_be_killed_at_any_instant(line: Fault | None):
    for instants in range(ENDLESS):
        if not killed_after(instants, line=line):
            break
    assert 50 < instants < ENDLESS
