"""Validate request bodies, queries and tool arguments, with the public server's messages.

The public server validates with zod, and its workers were written against those messages:
``Validation error: <path>: <message>, …`` (docs/api.md 1.5). A `Shape` drops keys it does not
know, refuses ``null`` unless a field is `nullable`, and describes itself as JSON Schema, so that
one declaration serves an HTTP route and an MCP tool.

Not pydantic models: each of its error types would need a translation to these messages, a dump
cannot keep defaults and leave out absent fields at once, and strict ``int`` refuses ``1.0``.
"""

from __future__ import annotations

import copy
import math
import re
from typing import Any, Self
from urllib.parse import urlsplit

MISSING: Any = object()
"""A key that is absent, as opposed to one that is ``null``."""
MAX_SAFE_INTEGER = 2**53 - 1

FieldPath = tuple[str | int, ...]
Issues = list[tuple[FieldPath, str]]

_DATETIME = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?Z",
    re.ASCII,
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


class ValidationFailed(Exception):
    """At least one field is invalid; the message lists all of them."""

    def __init__(self, issues: Issues) -> None:
        parts = (f"{'.'.join(map(str, path))}: {message}" for path, message in issues)
        super().__init__(f"Validation error: {', '.join(parts)}")


class Check:
    """One kind of value. A subclass implements `read` and `_schema`."""

    is_optional = False
    is_nullable = False
    default: Any = MISSING
    description = ""

    def optional(self, default: Any = MISSING) -> Self:
        """Return a copy that may be absent; `default`, if given, is then stored."""
        return self._copy(is_optional=True, default=default)

    def nullable(self) -> Self:
        """Return a copy that accepts ``null`` too."""
        return self._copy(is_nullable=True)

    def described(self, description: str) -> Self:
        """Return a copy with a description in its JSON Schema."""
        return self._copy(description=description)

    def parse(self, value: Any) -> dict[str, Any]:
        """Return the validated document of a whole body or query.

        Raises:
            ValidationFailed: at least one field is invalid.
        """
        issues: Issues = []
        document = self.read(value, (), issues)
        if issues:
            raise ValidationFailed(issues)
        assert isinstance(document, dict)
        return document

    def read(self, value: Any, path: FieldPath, issues: Issues) -> Any:
        """Return `value` as it is stored; append to `issues` if it is invalid."""
        if problem := self._problem(value):
            issues.append((path, problem))
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema, with description and default."""
        schema = self._schema()
        if self.description:
            schema["description"] = self.description
        if self.default is not MISSING:
            schema["default"] = self.default
        return schema

    def _problem(self, value: Any) -> str:
        raise NotImplementedError

    def _schema(self) -> dict[str, Any]:
        raise NotImplementedError

    def _copy(self, **changes: Any) -> Self:
        changed = copy.copy(self)
        for name, value in changes.items():
            setattr(changed, name, value)
        return changed


# --- containers
class Shape(Check):
    """A JSON object with known keys; others are dropped."""

    def __init__(self, **fields: Check) -> None:
        self._fields = fields

    def read(self, value: Any, path: FieldPath, issues: Issues) -> Any:
        """Validate each declared field."""
        if not isinstance(value, dict):
            issues.append((path, _wrong_type("object", value)))
            return value
        document: dict[str, Any] = {}
        for name, check in self._fields.items():
            found = value.get(name, MISSING)
            if found is MISSING and check.is_optional:
                if check.default is not MISSING:
                    document[name] = copy.copy(check.default)
            elif found is None and check.is_nullable:
                document[name] = None
            else:
                document[name] = check.read(found, (*path, name), issues)
        return document

    def _schema(self) -> dict[str, Any]:
        required = [name for name, check in self._fields.items() if not check.is_optional]
        properties = {name: check.schema() for name, check in self._fields.items()}
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        return schema | ({"required": required} if required else {})


class Record(Check):
    """A JSON object with arbitrary keys, whose values all pass `value` if it is given."""

    def __init__(self, value: Check | None = None) -> None:
        self._value = value

    def read(self, value: Any, path: FieldPath, issues: Issues) -> Any:
        """Validate every value."""
        if not isinstance(value, dict):
            issues.append((path, _wrong_type("record", value)))
            return value
        if self._value is None:
            return value
        return {key: self._value.read(item, (*path, key), issues) for key, item in value.items()}

    def _schema(self) -> dict[str, Any]:
        return {"type": "object"}


class Items(Check):
    """A list whose members all pass one check."""

    def __init__(self, item: Check, min_items: int = 0, max_items: int | None = None) -> None:
        self._item, self._min, self._max = item, min_items, max_items

    def read(self, value: Any, path: FieldPath, issues: Issues) -> Any:
        """Validate every member."""
        if not isinstance(value, list):
            issues.append((path, _wrong_type("array", value)))
            return value
        if problem := _wrong_size("array", "items", value, self._min, self._max):
            issues.append((path, problem))
        return [self._item.read(item, (*path, at), issues) for at, item in enumerate(value)]

    def _schema(self) -> dict[str, Any]:
        limits = {"minItems": self._min or None, "maxItems": self._max}
        return {"type": "array", "items": self._item.schema()} | _given(limits)


class Either(Check):
    """The first of several checks that passes."""

    def __init__(self, *checks: Check) -> None:
        self._checks = checks

    def read(self, value: Any, path: FieldPath, issues: Issues) -> Any:
        """Try the checks in order."""
        for check in self._checks:
            own: Issues = []
            document = check.read(value, path, own)
            if not own:
                return document
        issues.append((path, "Invalid input"))
        return value

    def _schema(self) -> dict[str, Any]:
        return {"anyOf": [check.schema() for check in self._checks]}


# --- single values
class Text(Check):
    """A string, with a length in characters, a format (uuid, date-time, uri) or a pattern."""

    def __init__(
        self,
        min_length: int = 0,
        max_length: int | None = None,
        *,
        form: str = "",
        pattern: str = "",
    ) -> None:
        self._min, self._max, self._form, self._pattern = min_length, max_length, form, pattern

    def _problem(self, value: Any) -> str:
        if not isinstance(value, str):
            return _wrong_type("string", value)
        if problem := _wrong_size("string", "characters", value, self._min, self._max):
            return problem
        if self._form == "uuid" and not _UUID.fullmatch(value):
            return "Invalid UUID"
        if self._form == "date-time" and not _DATETIME.fullmatch(value):
            return "Invalid ISO datetime"
        if self._form == "uri" and not _is_url(value):
            return "Invalid URL"
        if self._pattern and not re.fullmatch(self._pattern, value):
            return f"Invalid string: must match pattern /^{self._pattern}$/"
        return ""

    def _schema(self) -> dict[str, Any]:
        limits = {
            "minLength": self._min or None,
            "maxLength": self._max,
            "format": self._form or None,
            "pattern": f"^{self._pattern}$" if self._pattern else None,
        }
        return {"type": "string"} | _given(limits)


class Number(Check):
    """A finite number; `integer` refuses fractions, `from_text` converts a query parameter."""

    def __init__(
        self,
        minimum: float | None = None,
        maximum: float | None = None,
        *,
        above: float | None = None,
        integer: bool = False,
        from_text: bool = False,
    ) -> None:
        self._min, self._max, self._above = minimum, maximum, above
        self._integer, self._from_text = integer, from_text

    def read(self, value: Any, path: FieldPath, issues: Issues) -> Any:
        """Convert a query parameter, and store an integral float as an integer."""
        if self._from_text:
            value = _number_in(value)
        if problem := self._problem(value):
            issues.append((path, problem))
            return value
        if self._integer:
            return int(value)
        # Integers of the database have 64 bits.
        return value if abs(value) <= MAX_SAFE_INTEGER else float(value)

    def _problem(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return _wrong_type("number", value)
        if not math.isfinite(value):
            kind = "NaN" if math.isnan(value) else "Infinity"
            return f"Invalid input: expected number, received {kind}"
        if self._integer and value != int(value):
            return "Invalid input: expected int, received number"
        if self._integer and abs(value) > MAX_SAFE_INTEGER:
            return f"Too big: expected int to be <={MAX_SAFE_INTEGER}"
        if self._min is not None and value < self._min:
            return f"Too small: expected number to be >={self._min}"
        if self._above is not None and value <= self._above:
            return f"Too small: expected number to be >{self._above}"
        if self._max is not None and value > self._max:
            return f"Too big: expected number to be <={self._max}"
        return ""

    def _schema(self) -> dict[str, Any]:
        limits = {"minimum": self._min, "exclusiveMinimum": self._above, "maximum": self._max}
        return {"type": "integer" if self._integer else "number"} | _given(limits)


class Flag(Check):
    """``true`` or ``false``, and no other value that merely looks like one."""

    def _problem(self, value: Any) -> str:
        return "" if isinstance(value, bool) else _wrong_type("boolean", value)

    def _schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Choice(Check):
    """One of several strings."""

    def __init__(self, *options: str) -> None:
        self._options = options

    def _problem(self, value: Any) -> str:
        if value in self._options:
            return ""
        options = "|".join(f'"{option}"' for option in self._options)
        if len(self._options) == 1:
            return f"Invalid input: expected {options}"
        return f"Invalid option: expected one of {options}"

    def _schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self._options)}


class Anything(Check):
    """Any JSON value."""

    def _problem(self, value: Any) -> str:
        return "Invalid input" if value is MISSING else ""

    def _schema(self) -> dict[str, Any]:
        return {}


def names(text: str) -> tuple[str, ...]:
    """Split a space-separated list of names."""
    return tuple(text.split())


def optional(check: Check, fields: str) -> dict[str, Check]:
    """Return `check`, optional and without default, for each of the space-separated `fields`."""
    return dict.fromkeys(names(fields), check.optional())


# --- helpers
def _wrong_type(expected: str, value: Any) -> str:
    return f"Invalid input: expected {expected}, received {_type_name(value)}"


def _type_name(value: Any) -> str:
    if value is MISSING:
        return "undefined"
    if value is None:
        return "null"
    names: tuple[tuple[Any, str], ...] = (
        (bool, "boolean"),
        (int | float, "number"),
        (str, "string"),
        (list, "array"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "object")


def _wrong_size(kind: str, unit: str, value: Any, least: int, most: int | None) -> str:
    if len(value) < least:
        return f"Too small: expected {kind} to have >={least} {unit}"
    if most is not None and len(value) > most:
        return f"Too big: expected {kind} to have <={most} {unit}"
    return ""


def _given(keywords: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if value is not None}


def _number_in(text: Any) -> float:
    if not isinstance(text, str):
        return math.nan
    try:
        return float(text) if text.strip() else 0.0
    except ValueError:
        return math.nan


def _is_url(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", urlsplit(text).scheme))
    except ValueError:
        return False
