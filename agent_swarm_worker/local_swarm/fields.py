"""The kinds of single values a request can hold: text, numbers, flags and choices."""

from __future__ import annotations

import math
import re
from typing import Any
from urllib.parse import urlsplit

from agent_swarm_worker.local_swarm.validation import MISSING, Check, Issues, Place, wrong_type

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
