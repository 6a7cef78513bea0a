"""The schedule of a seed: repeatable, complete, and within the guarantees."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.api import QUIET_AFTER_BOOT_S
from chaos.plan import WRITE_BACK_S, Action, Step, make_plan

SEEDS = st.integers(0, 10_000)


@settings(max_examples=15)
@given(SEEDS, st.integers(12, 40))
def test_the_same_seed_gives_the_same_plan_with_everything_in_it(seed: int, count: int):
    plan = make_plan(seed, count, count * 2.0)
    assert plan == make_plan(seed, count, count * 2.0)
    assert plan != make_plan(seed + 1, count, count * 2.0)
    assert len(plan) == count
    assert {step.action for step in plan} == set(Action)
    assert [step.at_s for step in plan] == sorted(step.at_s for step in plan)
    assert Action.DISK_FULL not in {s.action for s in make_plan(seed, count, 30, has_disk=False)}


@settings(max_examples=15)
@given(SEEDS)
def test_a_worker_can_always_beat_after_the_api_was_restarted(seed: int):
    plan = make_plan(seed, 60, 100)
    for restart in (step for step in plan if step.action == Action.API_KILL):
        up_s = restart.at_s + restart.for_s
        assert not [step for step in plan if _silences(step, up_s, up_s + QUIET_AFTER_BOOT_S)]


def _silences(step: Step, begin_s: float, end_s: float) -> bool:
    deaf = {Action.OUTAGE, Action.WORKER_KILL, Action.WORKER_TERM, Action.WORKER_STOP}
    is_long = step.action in deaf
    return is_long and begin_s < step.at_s + step.for_s and step.at_s < end_s


@settings(max_examples=15)
@given(SEEDS)
def test_no_worker_is_killed_while_it_says_that_it_lives_in_memory(seed: int):
    plan = make_plan(seed, 60, 100)
    for full in (step for step in plan if step.action == Action.DISK_FULL):
        until_s = full.at_s + full.for_s + WRITE_BACK_S
        kills = [step.at_s for step in plan if step.action == Action.WORKER_KILL]
        assert not [at_s for at_s in kills if full.at_s <= at_s < until_s]
