"""Prices come from the bundled table; a missing price is unknown, not 0."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from agent_swarm_worker.providers.kit import costs


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    costs._calculator.cache_clear()
    costs._warn_once.cache_clear()
    yield
    costs._calculator.cache_clear()


def price(model: str, provider: str | None = "openai", **counts: int) -> float | None:
    usage = {"input_tokens": 0, "cached_tokens": 0, "cache_write_tokens": 0, "output_tokens": 0}
    return costs.usd(model, provider=provider, **(usage | counts))


def test_cached_tokens_are_part_of_the_input_and_cheaper():
    told = price("gpt-5.4", input_tokens=100, cached_tokens=25, output_tokens=50)
    assert told == pytest.approx(0.00094375)
    uncached = price("gpt-5.4", input_tokens=100, output_tokens=50)
    assert uncached == pytest.approx(0.001)


def test_a_long_prompt_may_cost_more_per_token():
    short, long = (price("gpt-5.6-terra", input_tokens=count) for count in (100_000, 300_000))
    assert short
    assert long
    assert long > 3 * short


def test_the_vendor_may_be_left_to_the_name():
    assert price("claude-sonnet-5", None, input_tokens=1000) == price(
        "claude-sonnet-5", "anthropic", input_tokens=1000
    )


@pytest.mark.parametrize(
    ("model", "provider"), [("nonesuch", "openai"), ("nonesuch", None), ("gpt-5.4", "nonesuch")]
)
def test_what_is_not_known_is_not_free(model: str, provider: str | None):
    assert price(model, provider, input_tokens=100) is None


def test_counts_that_contradict_each_other_have_no_price():
    assert price("gpt-5.4", input_tokens=10, cached_tokens=25) is None


def test_nothing_is_really_nothing():
    assert price("gpt-5.4") == 0


def test_without_the_library_prices_are_unknown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert price("gpt-5.4", input_tokens=100) is None


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked for a price")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert price("gpt-5.6-sol", input_tokens=100)
