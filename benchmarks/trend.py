"""Fit a line to a series, with the standard error of its slope."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through a series."""

    slope: float
    """Growth by unit of x."""
    error: float
    """Standard error of the slope; that neighbouring samples resemble each other is allowed for."""

    @property
    def at_most(self) -> float:
        """The slope may be that steep, at two standard errors."""
        return self.slope + 2 * self.error


def fit(x: Sequence[float], y: Sequence[float]) -> Trend:
    """Fit a line by least squares.

    Samples are correlated: the error is widened by the correlation of neighbouring residuals.

    Raises:
        ValueError: fewer than three points, or all at the same x.
    """
    count = len(x)
    if count < 3:
        raise ValueError("a line needs three points to have an error")
    mean_x, mean_y = sum(x) / count, sum(y) / count
    spread = sum((a - mean_x) ** 2 for a in x)
    if not spread:
        raise ValueError("all points at the same x")
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    left = [b - mean_y - slope * (a - mean_x) for a, b in zip(x, y, strict=True)]
    squares = sum(r * r for r in left)
    error = math.sqrt(squares / (count - 2) / spread)
    if squares:
        likeness = sum(a * b for a, b in pairwise(left)) / squares
        likeness = min(0.95, max(0.0, likeness))
        error *= math.sqrt((1 + likeness) / (1 - likeness))
    return Trend(slope, error)


def sparkline(values: Sequence[float]) -> str:
    """Draw a series, lowest to highest value, in `SPARK_WIDTH` characters."""
    width = min(SPARK_WIDTH, len(values))
    parts = [
        values[len(values) * n // width : len(values) * (n + 1) // width] for n in range(width)
    ]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)
