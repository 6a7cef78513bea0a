"""Field checks that answer in the words of the public server (docs/api.md 1.5).

The public server validates with zod, and its workers were written against those messages:
``Validation error: <path>: <message>, …``. A `Shape` strips keys it does not know, refuses ``null``
unless a field says `nullable`, and can describe itself as JSON Schema, so that the same
declaration serves an HTTP route and an MCP tool. The kinds of single values are in `fields`.

The kinds of single values a request can hold: text, numbers, flags and choices.
"""

from __future__ import annotations

import copy
import math
import re
from typing import Any, Self
from urllib.parse import urlsplit

MISSING: Any = object()
"""A key that is not there, as opposed to one that is ``null``."""


Place = tuple[str | int, ...]
Issues = list[tuple[Place, str]]


class ValidationFailed(Exception):
    """What was wrong, in the public server's words."""

    def __init__(self, issues: Issues) -> None:
        parts = (f"{'.'.join(map(str, place))}: {message}" for place, message in issues)
        super().__init__(f"Validation error: {', '.join(parts)}")


class Check:
    """One kind of value. Subclasses say what they accept in `read` and `schema`."""

    is_optional = False
    is_nullable = False
    fallback: Any = MISSING
    about = ""

    def optional(self, default: Any = MISSING) -> Self:
        """Return a copy that may be absent; `default` then stands in for it."""
        return self._but(is_optional=True, fallback=default)

    def nullable(self) -> Self:
        """Return a copy that takes ``null`` too."""
        return self._but(is_nullable=True)

    def described(self, about: str) -> Self:
        """Return a copy that says in JSON Schema what it is for."""
        return self._but(about=about)

    def read(self, value: Any, place: Place, issues: Issues) -> Any:
        """Return `value` as the server keeps it, or add to `issues`."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """Describe the accepted values as JSON Schema."""
        raise NotImplementedError

    def full_schema(self) -> dict[str, Any]:
        """The same with description and default."""
        schema = dict(self.schema())
        if self.about:
            schema["description"] = self.about
        if self.fallback is not MISSING:
            schema["default"] = self.fallback
        return schema

    def parse(self, value: Any) -> dict[str, Any]:
        """Return what the server keeps of a whole body or query.

        Raises:
            ValidationFailed: at least one field does not pass.
        """
        issues: Issues = []
        kept = self.read(value, (), issues)
        if issues:
            raise ValidationFailed(issues)
        assert isinstance(kept, dict)
        return kept

    def _but(self, **changes: Any) -> Self:
        changed = copy.copy(self)
        for name, value in changes.items():
            setattr(changed, name, value)
        return changed


class Items(Check):
    """A list whose members all pass one check."""

    def __init__(self, item: Check, least: int = 0, most: int | None = None) -> None:
        self._item, self._least, self._most = item, least, most

    def read(self, value: Any, place: Place, issues: Issues) -> Any:
        """Take a list and check every member."""
        if not isinstance(value, list):
            issues.append((place, wrong_type("array", value)))
            return value
        if len(value) < self._least:
            issues.append((place, f"Too small: expected array to have >={self._least} items"))
        if self._most is not None and len(value) > self._most:
            issues.append((place, f"Too big: expected array to have <={self._most} items"))
        return [self._item.read(item, (*place, at), issues) for at, item in enumerate(value)]

    def schema(self) -> dict[str, Any]:
        """Describe it as JSON Schema."""
        schema: dict[str, Any] = {"type": "array", "items": self._item.full_schema()}
        if self._least:
            schema["minItems"] = self._least
        if self._most is not None:
            schema["maxItems"] = self._most
        return schema


class Record(Check):
    """A JSON object with keys of the caller's choosing."""

    def __init__(self, value: Check | None = None) -> None:
        self._value = value

    def read(self, value: Any, place: Place, issues: Issues) -> Any:
        """Take an object and check every value."""
        if not isinstance(value, dict):
            issues.append((place, wrong_type("record", value)))
            return value
        if self._value is None:
            return value
        return {key: self._value.read(item, (*place, key), issues) for key, item in value.items()}

    def schema(self) -> dict[str, Any]:
        """Describe it as JSON Schema."""
        return {"type": "object"}


class Either(Check):
    """The first of several checks that passes."""

    def __init__(self, *checks: Check) -> None:
        self._checks = checks

    def read(self, value: Any, place: Place, issues: Issues) -> Any:
        """Try the checks in order."""
        for check in self._checks:
            own: Issues = []
            kept = check.read(value, place, own)
            if not own:
                return kept
        issues.append((place, "Invalid input"))
        return value

    def schema(self) -> dict[str, Any]:
        """Describe it as JSON Schema."""
        return {"anyOf": [check.schema() for check in self._checks]}


class Shape(Check):
    """A JSON object with known keys; others are dropped."""

    def __init__(self, **fields: Check) -> None:
        self._fields = fields

    def read(self, value: Any, place: Place, issues: Issues) -> Any:
        """Take an object; drop what is not declared."""
        if not isinstance(value, dict):
            issues.append((place, wrong_type("object", value)))
            return value
        kept: dict[str, Any] = {}
        for name, check in self._fields.items():
            found = value.get(name, MISSING)
            if found is MISSING and check.is_optional:
                if check.fallback is not MISSING:
                    kept[name] = copy.copy(check.fallback)
            elif found is None and check.is_nullable:
                kept[name] = None
            else:
                kept[name] = check.read(found, (*place, name), issues)
        return kept

    def schema(self) -> dict[str, Any]:
        """Describe it as JSON Schema."""
        required = [name for name, check in self._fields.items() if not check.is_optional]
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: check.full_schema() for name, check in self._fields.items()},
        }
        return schema | ({"required": required} if required else {})


def wrong_type(expected: str, value: Any) -> str:
    """Say that a value is of another type than the `expected` one."""
    return f"Invalid input: expected {expected}, received {_kind(value)}"


def _kind(value: Any) -> str:
    if value is MISSING:
        return "undefined"
    if value is None:
        return "null"
    kinds: tuple[tuple[Any, str], ...] = (
        (bool, "boolean"),
        (int | float, "number"),
        (str, "string"),
        (list, "array"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")


MAX_SAFE_INTEGER = 2**53 - 1
_DATETIME = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?Z",
    re.ASCII,
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


class Text(Check):
    """A string, with a length in characters, a format (uuid, date-time, uri) or a pattern."""

    def __init__(
        self, least: int = 0, most: int | None = None, *, form: str = "", pattern: str = ""
    ) -> None:
        self._least, self._most, self._form, self._pattern = least, most, form, pattern

    def read(self, value: Any, place: Place, issues: Issues) -> Any:
        """Take a string of the right length and form."""
        if not isinstance(value, str):
            issues.append((place, wrong_type("string", value)))
        elif len(value) < self._least:
            issues.append((place, f"Too small: expected string to have >={self._least} characters"))
        elif self._most is not None and len(value) > self._most:
            issues.append((place, f"Too big: expected string to have <={self._most} characters"))
        elif self._form == "uuid" and not _UUID.fullmatch(value):
            issues.append((place, "Invalid UUID"))
        elif self._form == "date-time" and not _DATETIME.fullmatch(value):
            issues.append((place, "Invalid ISO datetime"))
        elif self._form == "uri" and not _is_url(value):
            issues.append((place, "Invalid URL"))
        elif self._pattern and not re.fullmatch(self._pattern, value):
            issues.append((place, f"Invalid string: must match pattern /^{self._pattern}$/"))
        return value

    def schema(self) -> dict[str, Any]:
        """Describe it as JSON Schema."""
        schema: dict[str, Any] = {"type": "string"}
        if self._least:
            schema["minLength"] = self._least
        if self._most is not None:
            schema["maxLength"] = self._most
        if self._form:
            schema["format"] = self._form
        if self._pattern:
            schema["pattern"] = f"^{self._pattern}$"
        return schema


class Number(Check):
    """A number; `whole` refuses fractions, `from_text` is for query strings."""

    def __init__(
        self,
        least: float | None = None,
        most: float | None = None,
        *,
        above: float | None = None,
        whole: bool = False,
        from_text: bool = False,
    ) -> None:
        self._least, self._most, self._above = least, most, above
        self._whole, self._from_text = whole, from_text

    def read(self, value: Any, place: Place, issues: Issues) -> Any:
        """Take a number within the bounds."""
        if self._from_text:
            value = _number_in(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            issues.append((place, wrong_type("number", value)))
        elif not math.isfinite(value):
            kind = "NaN" if math.isnan(value) else "Infinity"
            issues.append((place, f"Invalid input: expected number, received {kind}"))
        elif self._whole and value != int(value):
            issues.append((place, "Invalid input: expected int, received number"))
        elif self._whole and abs(value) > MAX_SAFE_INTEGER:
            issues.append((place, f"Too big: expected int to be <={MAX_SAFE_INTEGER}"))
        elif self._least is not None and value < self._least:
            issues.append((place, f"Too small: expected number to be >={self._least}"))
        elif self._above is not None and value <= self._above:
            issues.append((place, f"Too small: expected number to be >{self._above}"))
        elif self._most is not None and value > self._most:
            issues.append((place, f"Too big: expected number to be <={self._most}"))
        else:
            return int(value) if self._whole else _storable(value)
        return value

    def schema(self) -> dict[str, Any]:
        """Describe it as JSON Schema."""
        schema: dict[str, Any] = {"type": "integer" if self._whole else "number"}
        bounds = {"minimum": self._least, "exclusiveMinimum": self._above, "maximum": self._most}
        schema.update({name: bound for name, bound in bounds.items() if bound is not None})
        return schema


class Flag(Check):
    """``true`` or ``false``."""

    def read(self, value: Any, place: Place, issues: Issues) -> Any:
        """Take a boolean, nothing that merely looks like one."""
        if not isinstance(value, bool):
            issues.append((place, wrong_type("boolean", value)))
        return value

    def schema(self) -> dict[str, Any]:
        """Describe it as JSON Schema."""
        return {"type": "boolean"}


class Choice(Check):
    """One of some words."""

    def __init__(self, *options: str) -> None:
        self._options = options

    def read(self, value: Any, place: Place, issues: Issues) -> Any:
        """Take one of the words."""
        if value not in self._options:
            options = "|".join(f'"{option}"' for option in self._options)
            head = "expected" if len(self._options) == 1 else "expected one of"
            kind = "input" if len(self._options) == 1 else "option"
            issues.append((place, f"Invalid {kind}: {head} {options}"))
        return value

    def schema(self) -> dict[str, Any]:
        """Describe it as JSON Schema."""
        return {"type": "string", "enum": list(self._options)}


class Anything(Check):
    """Any JSON value but an absent one."""

    def read(self, value: Any, place: Place, issues: Issues) -> Any:
        """Take everything that is there."""
        if value is MISSING:
            issues.append((place, "Invalid input"))
        return value

    def schema(self) -> dict[str, Any]:
        """Describe it as JSON Schema."""
        return {}


def _storable(value: float) -> float:
    """Return a number as the database can hold it: its integers have 64 bits."""
    return value if abs(value) <= MAX_SAFE_INTEGER else float(value)


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
