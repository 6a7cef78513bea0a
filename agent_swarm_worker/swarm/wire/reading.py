"""Reading what a server sent without trusting it: a value of the wrong type is an absent value.

Servers do not check their own answers, and a worker outlives several of their releases (docs/api.md
1.4). The exception are identifiers: files are named after them, so one that could
climb out of a directory is never passed on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAX_ID_BYTES = 200
MAX_INT = 2**53 - 1
"""The largest integer both sides agree on."""


def is_identifier(value: object) -> bool:
    """True for a string that may name a file: no slash, no ``..``, nothing invisible."""
    return (
        isinstance(value, str)
        and 0 < len(value.encode("utf-8", "replace")) <= MAX_ID_BYTES
        and value.isprintable()
        and value != "."
        and not any(part in value for part in ("/", "\\", ".."))
    )


def whole_number(value: object) -> int | None:
    """Return a number as an integer, ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return round(value) if abs(value) <= MAX_INT else None


class Row:
    """One JSON object of an answer; anything else reads as an object without keys."""

    __slots__ = ("raw",)

    def __init__(self, value: object) -> None:
        self.raw: dict[str, Any] = value if isinstance(value, dict) else {}

    def identifier(self, key: str) -> str | None:
        """Return an identifier, ``None`` if it is absent or could do harm."""
        value = self.raw.get(key)
        return value if isinstance(value, str) and is_identifier(value) else None

    def maybe_text(self, key: str) -> str | None:
        """Return a string that is not empty."""
        value = self.raw.get(key)
        return value if isinstance(value, str) and value else None

    def text(self, key: str, default: str = "") -> str:
        """Return a string."""
        value = self.raw.get(key)
        return value if isinstance(value, str) else default

    def whole(self, key: str) -> int | None:
        """Return an integer."""
        return whole_number(self.raw.get(key))

    def number(self, key: str) -> float | None:
        """Return a finite number."""
        value = self.raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if math.isfinite(value) else None

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return a boolean."""
        value = self.raw.get(key)
        return value if isinstance(value, bool) else default

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the strings of an array."""
        return tuple(value for value in self.array(key) if isinstance(value, str))

    def nested(self, key: str) -> dict[str, Any] | None:
        """Return a nested object."""
        value = self.raw.get(key)
        return value if isinstance(value, dict) else None

    def array(self, key: str) -> list[Any]:
        """Return an array, empty if there is none."""
        value = self.raw.get(key)
        return value if isinstance(value, list) else []

    def rows(self, key: str, read: Callable[[object], T | None]) -> tuple[T, ...]:
        """Return what `read` makes of the array's items; what it refuses is left out."""
        items = (read(value) for value in self.array(key))
        return tuple(item for item in items if item is not None)
