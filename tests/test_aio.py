"""Waiting for the first or all of several tasks, and broadcasts: errors and values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from agent_swarm_worker.aio import Broadcast, First, wait_all, wait_any

pytestmark = pytest.mark.anyio
Helper = Callable[..., Awaitable[object]]
HELPERS = pytest.mark.parametrize("helper", [wait_any, wait_all])


class Wrong(Exception):
    pass


async def gives(value: str, after: anyio.Event | None = None) -> str:
    if after is not None:
        await after.wait()
    return value


async def fails(words: str, after: anyio.Event | None = None) -> str:
    if after is not None:
        await after.wait()
    raise Wrong(words)


class Endless:
    """Waits for ever, and remembers how that ended."""

    def __init__(self) -> None:
        self.began, self.was_cancelled = anyio.Event(), False

    async def __call__(self) -> str:
        self.began.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.was_cancelled = True
            raise
        return ""


@pytest.mark.parametrize("winner", [0, 1, 2])
async def test_the_first_to_finish_is_named_and_the_others_are_cancelled(winner: int):
    others = [Endless(), Endless()]
    waits: list[Callable[[], Awaitable[str]]] = list(others)

    async def wins() -> str:
        for other in others:
            await other.began.wait()
        return "won"

    waits.insert(winner, wins)
    assert await wait_any(*waits) == First(winner, "won")
    assert [other.was_cancelled for other in others] == [True, True]


async def test_of_two_that_finish_at_once_the_first_argument_counts():
    both = anyio.Event()

    async def open_the_gate() -> str:
        await anyio.lowlevel.checkpoint()
        both.set()
        return await anyio.sleep_forever()

    for number in range(3):
        both = anyio.Event()
        waits = [partial(gives, "a", both), partial(gives, "b", both)]
        waits.insert(number, open_the_gate)
        assert (await wait_any(*waits)).value == "a"


async def test_a_result_is_not_lost_when_the_wait_beside_it_ends_in_the_same_turn():
    answer, limit = anyio.Event(), anyio.Event()

    async def asks() -> str:
        await answer.wait()
        # The answer is here; taking it needs one more turn, in which the limit ends.
        limit.set()
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
        return "claimed"

    async def limits() -> str:
        answer.set()
        await limit.wait()
        return "too late"

    assert await wait_any(asks, limits) == First(0, "claimed")


@HELPERS
@pytest.mark.parametrize("place", [0, 1])
async def test_an_error_comes_as_itself_and_cancels_the_others(helper: Helper, place: int):
    other = Endless()
    waits: list[Callable[[], Awaitable[str]]] = [other]
    waits.insert(place, partial(fails, "broken", other.began))
    with pytest.raises(Wrong, match="broken"):
        await helper(*waits)
    assert other.was_cancelled


async def test_an_error_is_not_lost_for_a_result_that_comes_in_the_same_turn():
    both = anyio.Event()

    async def sets() -> str:
        both.set()
        return await anyio.sleep_forever()

    with pytest.raises(Wrong):
        await wait_any(partial(gives, "fine", both), partial(fails, "broken", both), sets)


@HELPERS
@pytest.mark.parametrize("place", [0, 1])
async def test_of_two_errors_the_first_is_raised_and_the_other_is_in_its_notes(
    helper: Helper, place: int
):
    began = anyio.Event()

    async def breaks_when_cancelled() -> str:
        began.set()
        try:
            return await anyio.sleep_forever()
        finally:
            raise Wrong("late")

    waits = [partial(fails, "early", began)]
    waits.insert(place, breaks_when_cancelled)
    words = ["early", "late"] if place else ["late", "early"]
    with pytest.raises(Wrong, match=words[0]) as caught:
        await helper(*waits)
    assert caught.value.__notes__ == [f"at the same time: Wrong({words[1]!r})"]


@HELPERS
async def test_a_cancellation_from_outside_cancels_all_of_them(helper: Helper):
    waits = [Endless(), Endless()]
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(helper, *waits)
            for wait in waits:
                await wait.began.wait()
            scope.cancel()
    assert scope.cancelled_caught
    assert [wait.was_cancelled for wait in waits] == [True, True]


@HELPERS
async def test_an_error_on_the_way_out_of_a_cancellation_is_not_lost(helper: Helper):
    async def breaks_when_cancelled() -> str:
        try:
            return await anyio.sleep_forever()
        finally:
            raise Wrong("on the way out")

    with anyio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(Wrong):
            await helper(breaks_when_cancelled, Endless())


async def test_all_results_come_in_the_order_of_the_calls():
    first, second = anyio.Event(), anyio.Event()

    async def last() -> int:
        second.set()
        return 3

    async def middle() -> str:
        await second.wait()
        first.set()
        return "two"

    assert await wait_all(partial(gives, "one", first), middle, last) == ("one", "two", 3)
    assert await wait_all() == ()


async def test_what_is_waited_for_runs_at_once():
    """Each needs the other one to have begun: one after the other would wait for ever."""
    here, there = anyio.Event(), anyio.Event()

    async def meets(mine: anyio.Event, other: anyio.Event) -> bool:
        mine.set()
        await other.wait()
        return True

    with anyio.fail_after(10):
        both = await wait_all(partial(meets, here, there), partial(meets, there, here))
    assert both == (True, True)


async def test_a_broadcast_wakes_all_who_wait_and_nobody_who_comes_later():
    news, woken = Broadcast(), []

    async def waits(name: str) -> None:
        await news.wait()
        woken.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(waits, "a")
        group.start_soon(waits, "b")
        await anyio.wait_all_tasks_blocked()
        news.notify()
        await anyio.wait_all_tasks_blocked()
        assert sorted(woken) == ["a", "b"]
        group.start_soon(waits, "late")
        await anyio.wait_all_tasks_blocked()
        assert len(woken) == 2
        group.cancel_scope.cancel()


async def test_an_event_that_was_taken_before_the_look_misses_no_notification():
    news = Broadcast()
    taken = news.next
    news.notify()
    assert taken.is_set()
    assert not news.next.is_set()


async def test_a_condition_is_looked_at_before_and_after_each_notification():
    news, looks = Broadcast(), []

    def is_third_look() -> bool:
        looks.append(None)
        return len(looks) == 3

    async with anyio.create_task_group() as group:
        group.start_soon(news.wait_for, is_third_look)
        for count in (1, 2):
            await anyio.wait_all_tasks_blocked()
            assert len(looks) == count
            news.notify()
    assert len(looks) == 3
