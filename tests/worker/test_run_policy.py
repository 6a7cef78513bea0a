"""When the worker polls, how long it pauses, and when it stops."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.logs import Log
from agent_swarm_worker.worker.loops.run_policy import (
    MAX_BUDGET_BACKOFF_S,
    UNAUTHORIZED_PAUSE_S,
    PollResult,
    RunPolicy,
    Shutdown,
)
from agent_swarm_worker.worker.run.running_task import RunningTask, Slots

pytestmark = pytest.mark.anyio
INTERVAL_S = 10.0


class Rig:
    def __init__(self, capacity: int = 1) -> None:
        self.slots, self.shutdown = Slots(capacity), Shutdown(log=Log())
        self.interval_s = INTERVAL_S
        self.policy = RunPolicy(
            slots=self.slots,
            shutdown=self.shutdown,
            clock=SystemClock(),
            interval_s=lambda: self.interval_s,
        )


def task(task_id: str) -> RunningTask:
    return RunningTask(task_id, True, "s", "task_assigned")


async def test_it_polls_while_a_slot_is_free():
    rig = Rig(capacity=2)
    one, two = task("1"), task("2")
    rig.slots.add(one)
    assert rig.policy.may_poll
    rig.slots.add(two)
    assert not rig.policy.may_poll
    came = []

    async def wait() -> None:
        came.append(await rig.policy.wait_for_slot())

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert came == []
        rig.slots.remove(one)
    assert came == [True]


async def test_a_shutdown_cuts_each_wait_short_and_nothing_is_polled_any_more():
    rig = Rig()
    rig.slots.add(task("1"))
    answers = []

    async def wait(how: str) -> None:
        match how:
            case "room":
                answers.append(await rig.policy.wait_for_slot())
            case "pause":
                await rig.policy.pause(1e6)
                answers.append(False)
            case _:
                answers.append(await rig.policy.unless_leaving(anyio.sleep_forever))

    async with anyio.create_task_group() as group:
        for how in ("room", "pause", "step"):
            group.start_soon(wait, how)
        await anyio.wait_all_tasks_blocked()
        assert answers == []
        rig.shutdown.request("a test")
    assert answers == [False, False, False]
    assert rig.policy.is_leaving
    assert not rig.policy.may_poll


async def test_a_step_that_ends_lets_the_loop_go_on():
    policy = Rig().policy
    assert await policy.unless_leaving(partial(anyio.sleep, 0))


def test_the_pause_follows_from_what_came_of_the_poll():
    rig = Rig()
    policy = rig.policy
    assert policy.pause_s(PollResult.BEGUN) == 0
    assert policy.pause_s(PollResult.IGNORED) == INTERVAL_S
    assert policy.pause_s(PollResult.UNAUTHORIZED) == UNAUTHORIZED_PAUSE_S
    pauses = [policy.pause_s(PollResult.NOTHING) for _ in range(200)]
    assert all(0.9 * INTERVAL_S <= pause_s <= 1.1 * INTERVAL_S for pause_s in pauses)
    assert len(set(pauses)) > 1
    rig.interval_s = 1.0
    assert policy.pause_s(PollResult.IGNORED) == 1.0


def test_refusals_in_a_row_make_the_pause_longer_until_a_trigger_comes():
    policy = Rig().policy

    def refused() -> float:
        return policy.pause_s(PollResult.OVER_BUDGET)

    assert [refused(), refused()] == [2, 4]
    policy.pause_s(PollResult.NOTHING)
    assert refused() == 8
    policy.pause_s(PollResult.IGNORED)
    assert policy.refusals == 0
    assert [refused() for _ in range(20)][-1] == MAX_BUDGET_BACKOFF_S
