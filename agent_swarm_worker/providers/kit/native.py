"""Read values out of JSON of foreign origin: a value of the wrong type counts as missing."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

from agent_swarm_worker.contract import PlanStep

MAX_COUNT = 2**53
"""The largest whole number that every JSON reader represents exactly."""


_IS_UNDER_WAY = frozenset({"in_progress", "inProgress", "in-progress", "active"})
_IS_DONE = frozenset({"completed", "done", "cancelled"})


def parse_file(content: bytes) -> Any:
    """Parse a JSON file in any Unicode encoding, also one with a byte order mark.

    Raises:
        ValueError: the content is not JSON.
    """
    return orjson.loads(content.decode(json.detect_encoding(content)))


def mapping(value: Any) -> dict[str, Any]:
    """Return `value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Return `value` if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """Return `value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """Return `value` if it is a finite number that is not negative, else ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        real = float(value)
    except OverflowError:
        return None
    return real if math.isfinite(real) and real >= 0 else None


def count(value: Any) -> int | None:
    """Return `value` if it is a whole number, zero or more; else ``None``."""
    if type(value) is int:  # the common case; excludes bool
        return value if 0 <= value <= MAX_COUNT else None
    real = number(value)
    if real is None or not real.is_integer() or real > MAX_COUNT:
        return None
    return int(value)


def plan_step(what: str, status: str) -> PlanStep:
    """Return a step of a plan with a harness's word for its status; an unknown one is pending."""
    if status in _IS_DONE:
        return PlanStep(what, "completed")
    return PlanStep(what, "in_progress" if status in _IS_UNDER_WAY else "pending")
