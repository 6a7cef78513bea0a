"""Reading what a server sent without trusting it: a value of the wrong type is an absent value.

Servers do not check their own answers, and a worker outlives several of their releases (docs/api.md
1.4). The exception are identifiers: files are named after them, so one that could
climb out of a directory is never passed on.

JSON the server accepts: no nulls, no NaN, no broken text, whatever a harness said.

The server refuses ``null`` where a key may be left out, and one refused field voids a whole
request (docs/api.md 1.3). So every body passes through `encode`, once, on its way out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from agent_swarm_worker.clock import wire_time

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


NULL = orjson.Fragment(b"null")
"""A null that is meant: for the few fields docs/api.md calls nullable."""

MAX_DEPTH = 64
_TOO_DEEP = "[nested too deeply]"
_MAX_INT = 2**63


def verbatim(value: object) -> orjson.Fragment:
    """Return `value` so that `encode` leaves it as it is, for documents such as a JSON schema."""
    return orjson.Fragment(orjson.dumps(value))


def encode(value: object) -> bytes:
    """Return `value` as JSON; keys without a value are left out, on every level."""
    return orjson.dumps(_clean(value, MAX_DEPTH), default=str)


def _clean(value: Any, depth: int) -> Any:
    match value:
        case str():
            # A lone surrogate is legal in a Python string and in no UTF-8 body.
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        case None | bool() | orjson.Fragment():
            return value
        case int():
            return value if -_MAX_INT <= value < _MAX_INT else None
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return wire_time(value)
        case Mapping() | list() | tuple() if depth == 0:
            return _TOO_DEEP
        case Mapping():
            cleaned = (
                (_clean(str(key), 0), _clean(item, depth - 1)) for key, item in value.items()
            )
            return {key: item for key, item in cleaned if item is not None}
        case list() | tuple():
            return [_clean(item, depth - 1) for item in value]
        case _:
            return value
