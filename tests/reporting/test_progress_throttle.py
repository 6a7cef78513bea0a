from __future__ import annotations

import pytest

from agent_swarm_worker.reporting.context import Throttle


@pytest.fixture
def sent():
    return []


@pytest.fixture
def throttle(sent, clock):
    return Throttle(interval_s=lambda: 3, send=sent.append, clock=clock)


def test_the_first_goes_at_once_and_the_latest_at_the_end_of_the_interval(throttle, sent, clock):
    for value in "abc":
        throttle.offer(value)
    assert sent == ["a"]
    clock.skip(2.9)
    throttle.tick()
    assert sent == ["a"]
    clock.skip(0.1)
    throttle.tick()
    assert sent == ["a", "c"]
    clock.skip(10)
    throttle.tick()
    assert sent == ["a", "c"]


def test_an_offer_after_the_interval_takes_the_place_of_what_was_kept_back(throttle, sent, clock):
    throttle.offer("a")
    throttle.offer("b")
    clock.skip(3)
    throttle.offer("c")
    assert sent == ["a", "c"]


def test_dropped_is_never_sent(throttle, sent, clock):
    throttle.offer("a")
    throttle.offer("b")
    throttle.drop()
    clock.skip(10)
    throttle.tick()
    assert sent == ["a"]


def test_a_failed_send_is_tried_again(clock):
    answers = [OSError("disk full"), None]
    sent = []

    def send(value):
        if error := answers.pop(0):
            raise error
        sent.append(value)

    throttle = Throttle(interval_s=lambda: 3, send=send, clock=clock)
    with pytest.raises(OSError, match="disk full"):
        throttle.offer("a")
    throttle.tick()
    assert sent == ["a"]
