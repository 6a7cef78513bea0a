"""Field checks that answer in the words of the public server (docs/api.md 1.5).

The public server validates with zod, and its workers were written against those messages:
``Validation error: <path>: <message>, …``. A `Shape` strips keys it does not know, refuses ``null``
unless a field says `nullable`, and can describe itself as JSON Schema, so that the same
declaration serves an HTTP route and an MCP tool. The kinds of single values are in `fields`.
"""

from __future__ import annotations

import copy
from typing import Any, Self

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
