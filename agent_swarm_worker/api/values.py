"""Reads JSON of the server tolerantly, and encodes JSON that the server accepts.

Reading (docs/api.md 1.4): a value of the wrong type counts as absent. An identifier that could
leave a directory counts as absent too, since files are named after identifiers.

Encoding (docs/api.md 1.3): the server refuses ``null`` where a key may be left out, and one refused
field voids the whole request. So every body passes through `encode`: no nulls, NaN or broken text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar
from urllib.parse import quote

import orjson

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAX_ID_BYTES = 200
MAX_INT = 2**53 - 1
"""Largest integer that JSON numbers of a JavaScript server hold exactly."""

Identifier: TypeAlias = str
"""Type of a field of a row that `read_row` reads as an identifier."""


def is_identifier(value: object) -> bool:
    """True for a string that may name a file: no slash, no ``..``, printable."""
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
    """One JSON object of an answer; any other value reads as an object without keys."""

    __slots__ = ("raw",)

    def __init__(self, value: object) -> None:
        self.raw: dict[str, Any] = value if isinstance(value, dict) else {}

    def identifier(self, key: str) -> str | None:
        """Return an identifier, ``None`` if it is absent or not `is_identifier`."""
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

    def objects(self, key: str) -> tuple[dict[str, Any], ...]:
        """Return the objects of an array."""
        return tuple(value for value in self.array(key) if isinstance(value, dict))

    def rows(self, key: str, read: Callable[[object], T | None]) -> tuple[T, ...]:
        """Return the array's items as returned by `read`, without any ``None``."""
        items = (read(value) for value in self.array(key))
        return tuple(item for item in items if item is not None)


class WireRow:
    """Base of the rows whose fields `read_row` reads."""

    __slots__ = ()

    @classmethod
    def from_wire(cls, value: object) -> Self | None:
        """Read one row; ``None`` if a field without a default is absent."""
        return read_row(cls, value)


def read_row(cls: Callable[..., T], value: object, /, **given: Any) -> T | None:
    """Read a JSON object into a dataclass; ``None`` if a field without a default is absent.

    The field ``created_at`` is read from the key ``createdAt``, according to the field's type; a
    field ``raw`` gets the whole object. An empty string counts as absent. Fields that are read in
    another way are `given`.
    """
    row = Row(value)
    for field, key in _fields_and_keys(cls):
        if field.name in given:
            continue
        item = row.raw if field.name == "raw" else _READERS[str(field.type)](row, key)
        if item is not None:
            given[field.name] = item
        elif field.default is MISSING and field.default_factory is MISSING:
            return None
    return cls(**given)


@cache
def _fields_and_keys(cls: Any) -> tuple[tuple[Field[Any], str], ...]:
    """Return the fields of a dataclass, each with its key on the wire."""
    return tuple((field, _camel_case(field.name)) for field in fields(cls))


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _texts_if_array(row: Row, key: str) -> tuple[str, ...] | None:
    return row.texts(key) if isinstance(row.raw.get(key), list) else None


def _flag_if_boolean(row: Row, key: str) -> bool | None:
    value = row.raw.get(key)
    return value if isinstance(value, bool) else None


_READERS: dict[str, Callable[[Row, str], object]] = {
    "Identifier": Row.identifier,
    "str": Row.maybe_text,
    "int": Row.whole,
    "float": Row.number,
    "bool": _flag_if_boolean,
    "tuple[str, ...]": _texts_if_array,
    "Mapping[str, Any]": Row.nested,
}
_READERS |= {f"{kind} | None": read for kind, read in _READERS.items()}


NULL = orjson.Fragment(b"null")
"""A null that `encode` keeps: for the few fields that docs/api.md calls nullable."""

MAX_DEPTH = 64
_TOO_DEEP = "[nested too deeply]"
_MAX_INT = 2**63


def verbatim(value: object) -> orjson.Fragment:
    """Return `value` for `encode` to keep unchanged, for documents such as a JSON schema."""
    return orjson.Fragment(orjson.dumps(value))


def encode(value: object) -> bytes:
    """Return `value` as JSON; keys whose value is ``None`` are left out, at every level."""
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


def segment(value: str) -> str:
    """Return an identifier as one segment of a path.

    Raises:
        BadSetting: it is empty or leaves its directory: servers resolve even an encoded ``..``.
    """
    if value in {"", ".", ".."}:
        raise BadSetting("id", value, "this is not an identifier")
    return quote(value, safe="", errors="replace")
