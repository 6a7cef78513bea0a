"""The steering queue, and the cost book."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.contract import SteerDelivery, SteerMode
from agent_swarm_worker.providers.kit.conversation import ENDED, SteeringQueue, SteerRequest
from agent_swarm_worker.providers.kit.costs import CostBook, Tokens

pytestmark = pytest.mark.anyio


def requests(*modes: SteerMode) -> list[SteerRequest]:
    return [SteerRequest(mode, f"{mode} {number}") for number, mode in enumerate(modes)]


def test_messages_wait_until_they_are_taken():
    queue, (one, two, three) = SteeringQueue(), requests("steer", "queue", "queue")
    for request in (one, two, three):
        queue.add(request)
    assert queue.take("steer") == [one]
    assert queue.take("queue", at_most=1) == [two]
    assert queue.take() == [three]
    assert queue.take() == []


def test_the_first_word_on_a_message_stands():
    (request,) = requests("queue")
    request.confirm("steer")
    request.refuse("too late")
    request.delivery = SteerDelivery(False)
    assert request.delivery == SteerDelivery(True, "steer")


def test_what_was_sent_is_settled_by_its_key():
    queue, (one, two) = SteeringQueue(), requests("steer", "queue")
    queue.sent("a", one)
    queue.sent("b", two)
    queue.accept("a")
    queue.accept("unknown")
    assert queue.has_accepted
    queue.confirm("a")
    queue.refuse("b", "no turn")
    queue.refuse("b", "again")
    queue.confirm("unknown")
    assert not queue.has_accepted
    assert one.delivery == SteerDelivery(True, "steer")
    assert two.delivery == SteerDelivery(False, reason="no turn")


def test_the_end_of_a_turn_settles_what_was_accepted():
    queue, (one, two) = SteeringQueue(), requests("steer", "steer")
    queue.sent(1, one)
    queue.sent(2, two)
    queue.accept(2)
    queue.confirm_sent(only_accepted=True)
    assert (one.delivery, two.delivery) == (None, SteerDelivery(True, "steer"))
    queue.refuse_sent("over")
    assert one.delivery == SteerDelivery(False, reason="over")


async def test_closing_answers_who_waits_and_who_comes():
    queue, outcomes = SteeringQueue(), list[SteerDelivery]()

    async def deliver() -> None:
        outcomes.append(await queue.deliver("steer", "hello"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(deliver)
            await anyio.wait_all_tasks_blocked()
            (sent,) = requests("queue")
            queue.sent("sent", sent)
            queue.close()
        await deliver()
    assert outcomes[0] == sent.delivery == SteerDelivery(False, reason=ENDED)
    assert outcomes[1] == SteerDelivery(False, reason="the session is over")


COUNTS = st.integers(0, 1000)
CALLS = st.lists(st.builds(Tokens, input=COUNTS, output=COUNTS, cache_read=COUNTS), max_size=6)


@given(CALLS, st.builds(Tokens, input=COUNTS, output=COUNTS))
def test_running_totals_come_to_what_the_calls_were(calls: list[Tokens], before: Tokens):
    """However often a total is repeated, and whatever an earlier process had used."""
    book, total = CostBook(), before
    book.begin("thread", before)
    book.begin("thread", Tokens(input=9999))
    for call in calls:
        total += call
        for _ in range(2):
            book.add("m", book.grown("thread", total), 0.0)
    assert book.spent.tokens == sum(calls, start=Tokens())


def test_a_total_that_shrank_was_begun_anew():
    book = CostBook()
    assert book.grown("t", Tokens(input=10, output=5)) == Tokens(input=10, output=5)
    assert book.grown("t", Tokens(input=3, output=6)) == Tokens(input=3, output=6)


@pytest.mark.parametrize(
    ("prices", "total"), [([], 0.0), ([0.5, 0.25], 0.75), ([0.5, None, 1.0], None), ([0.0], 0.0)]
)
def test_a_sum_with_an_unknown_part_is_unknown(prices: list[float | None], total: float | None):
    book = CostBook()
    for number, usd in enumerate(prices):
        book.add(f"model {number % 2}", Tokens(input=1), usd)
    assert book.spent.usd == total
    assert book.spent.tokens.input == len(prices)
