"""The states of a running task: the documented changes happen, and no others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from agent_swarm_worker.worker.run.running_task import TRANSITIONS, RunningTask, TaskState

pytestmark = pytest.mark.anyio
PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"
P, R, A = TaskState.PREPARING, TaskState.RUNNING, TaskState.ANSWERED
E, W, L = TaskState.ENDING, TaskState.REPORTING, TaskState.LOST


class Session:
    def __init__(self, error: Exception | None = None) -> None:
        self.aborted: list[str] = []
        self._error = error

    async def abort(self, reason: str) -> None:
        self.aborted.append(reason)
        if self._error is not None:
            raise self._error


async def begin(task: RunningTask) -> None:
    task.begin(cast("Any", Session()))


async def answer(task: RunningTask) -> None:
    task.track_output(is_result=True)


async def go_on(task: RunningTask) -> None:
    task.track_output(is_result=False)


async def end(task: RunningTask) -> None:
    await task.end("tool-loop: again")


async def take(task: RunningTask) -> None:
    await task.end("cancelled", is_ours=False)


async def report(task: RunningTask) -> None:
    task.session_ended(task.ended_by)


async def lose(task: RunningTask) -> None:
    task.lose()


Step = Callable[[RunningTask], Awaitable[None]]
WAYS: dict[TaskState, list[Step]] = {
    P: [],
    R: [begin],
    A: [begin, answer],
    E: [end],
    W: [begin, report],
    L: [begin, report, lose],
}
STEPS: dict[Step, dict[TaskState, TaskState]] = {
    begin: {P: R, E: E},
    answer: {R: A, P: P, A: A, E: E, W: W, L: L},
    go_on: {A: R, P: P, R: R, E: E, W: W, L: L},
    end: {P: E, R: E, A: E, E: E, W: W, L: L},
    take: {P: E, R: E, A: E, E: E, W: L, L: L},
    report: {P: W, R: W, A: W, E: W},
    lose: {W: L, L: L, E: L},
}
"""By step: where it leads from each state; from the others it is refused."""


def new() -> RunningTask:
    return RunningTask("t", True, "s", "task_assigned")


def test_the_page_has_the_transitions():
    rows = [line.strip("| ").split("|") for line in PAGE.read_text().splitlines()]
    states = {state.value for state in TaskState}
    told = {row[0].strip(): row[2].strip() for row in rows if row[0].strip() in states}
    known = {
        state.value: {other.value for other in others} for state, others in TRANSITIONS.items()
    }
    assert {name: set(may.split(", ")) & states for name, may in told.items()} == known


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("state", WAYS)
async def test_each_step_leads_where_it_should_or_is_refused(state: TaskState, step: Step):
    task = new()
    for earlier in WAYS[state]:
        await earlier(task)
    assert task.state is state
    expected = STEPS[step].get(state)
    if expected is None:
        with pytest.raises(RuntimeError, match=f"a task that is {state} cannot become"):
            await step(task)
        assert task.state is state
    else:
        await step(task)
        assert task.state is expected


def test_every_documented_change_is_made_by_a_step():
    made = {(a, b) for ways in STEPS.values() for a, b in ways.items() if a is not b}
    made.add((E, L))  # by `report`, after `take`
    assert made == {(a, b) for a, others in TRANSITIONS.items() for b in others}


async def test_what_was_taken_is_lost_when_its_session_has_ended():
    task = new()
    await begin(task)
    assert await task.end("cancelled", is_ours=False)
    assert (task.state, task.is_ours, task.is_live) == (E, False, True)
    task.session_ended("cancelled")
    assert (task.state, task.is_ours, task.is_live) == (L, False, False)
    assert task.over.is_set()


async def test_only_the_first_reason_counts_and_the_session_hears_of_it_once():
    task, session = new(), Session(error=ValueError("a mistake of the provider's"))
    task.begin(cast("Any", session))
    assert await task.end("timeout: too long")
    assert not await task.end("cancelled", is_ours=False)
    assert (task.ended_by, task.is_ours, session.aborted) == (
        "timeout: too long",
        True,
        ["timeout: too long"],
    )
    assert task.scope.cancel_called  # the session could not abort


async def test_a_task_without_a_session_is_cancelled_and_its_session_is_told_later():
    task, session = new(), Session()
    assert await task.end("graceful_shutdown")
    assert task.scope.cancel_called
    task.begin(cast("Any", session))
    assert (task.state, task.session) == (E, session)


async def test_a_reserved_slot_takes_nothing():
    task = RunningTask.reserved("t", "s", "task_assigned")
    assert not await task.end("cancelled", is_ours=False)
    assert (task.state, task.is_live, task.takes_messages) == (TaskState.RESERVED, False, False)


@pytest.mark.parametrize(("state", "takes"), [(P, False), (R, True), (A, True), (E, False)])
async def test_messages_are_taken_while_the_session_lives(state: TaskState, takes: bool):
    task = new()
    for step in WAYS[state]:
        await step(task)
    assert task.takes_messages is takes
