"""The criterion for a flat series, as `make soak` uses it."""

from __future__ import annotations

import random

import pytest

from benchmarks.trend import BARS, fit, sparkline


def test_a_line_is_found_exactly():
    trend = fit([0, 1, 2, 3], [5, 7, 9, 11])
    assert (trend.slope, trend.error) == (pytest.approx(2), pytest.approx(0))


@pytest.mark.parametrize("leak", [0.0, 3.0], ids=["none", "a leak"])
def test_a_leak_is_seen_through_noise(leak: float):
    rng = random.Random(1)
    hours = [n / 720 for n in range(360)]
    trend = fit(hours, [60 + leak * hour + rng.gauss(0, 0.4) for hour in hours])
    assert trend.slope == pytest.approx(leak, abs=2 * trend.error)
    assert (trend.at_most < 2) == (leak == 0)


def test_noise_that_lasts_makes_less_sure():
    rng = random.Random(2)
    alone = [rng.gauss(0, 1) for _ in range(400)]
    lasting = [sum(alone[n : n + 20]) / 20**0.5 for n in range(380)]
    assert fit(range(380), lasting).error > 2 * fit(range(380), alone[:380]).error


@pytest.mark.parametrize("x", [[1, 2], [3, 3, 3]])
def test_too_little_is_no_line(x: list[float]):
    with pytest.raises(ValueError, match=r"three points|same x"):
        fit(x, x)


def test_a_sparkline_goes_from_lowest_to_highest():
    line = sparkline(range(400))
    assert (line[0], line[-1], len(line)) == (BARS[0], BARS[-1], 40)
    assert sparkline([7, 7, 7]) == BARS[0] * 3
