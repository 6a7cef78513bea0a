"""Read values out of JSON of foreign origin: a value of the wrong type counts as missing."""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import Any, Final

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


_NOT_SQUASHED: Final = re.compile(r"[^a-z0-9]+")
_MAX_NAME_CHARS: Final = 64
_NO: Final = frozenset(
    {"", "false", "no", "n", "f", "0", "off", "none", "null", "nil", "undefined", "nan"}
)
_FAILURES: Final = ("err", "fail", "fatal", "abort", "cancel", "timeout", "timedout", "crash")
_FLAGS: Final = frozenset({"iserror", "error", "errors", "errorcategory", "failed"})


def squashed(name: str) -> str:
    """Return a key, or a type, without case and marks: ``Is-Error`` becomes ``iserror``."""
    return _squashed(name) if len(name) <= _MAX_NAME_CHARS else ""


@lru_cache(maxsize=2048)
def _squashed(name: str) -> str:
    return _NOT_SQUASHED.sub("", name.lower())


def is_yes(value: Any) -> bool:
    """Return False for a value that means no or nothing: ``"false"``, 0, null, empty."""
    if isinstance(value, str):
        return value.strip().lower() not in _NO
    if isinstance(value, list):
        return any(map(is_yes, value))
    return value == value and bool(value)  # noqa: PLR0124 - NaN


def tells_failure(key: str, value: Any) -> bool:
    """True if this member of a result says that it is a failure."""
    match squashed(key):
        case "success" | "succeeded" | "ok":
            return value is not None and not is_yes(value)
        case "status" | "subtype":
            return squashed(text(value)).startswith(_FAILURES)
        case "apierrorstatus":
            return (number(value) or 0) >= 400
        case name:
            return name in _FLAGS and is_yes(value)


def says_failure(result: dict[str, Any]) -> bool:
    """True if any member of a result says that it is a failure, whatever the others say."""
    return any(tells_failure(key, value) for key, value in result.items())


def plan_step(what: str, status: str) -> PlanStep:
    """Return a step of a plan with a harness's word for its status; an unknown one is pending."""
    if status in _IS_DONE:
        return PlanStep(what, "completed")
    return PlanStep(what, "in_progress" if status in _IS_UNDER_WAY else "pending")
