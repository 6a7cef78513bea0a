"""Tell whether two tool calls have the same arguments.

`args_hash` is the hash of the public worker: JSON with sorted keys as JavaScript prints it, 32 bits
over UTF-16, in base 36. `args_key` is equal for the same
arguments, is computed in a fraction of the time, and has no collisions.

Tell whether two results of one call are the same, apart from times, durations and ids.

Most calls are made once, so nothing is done for a result until the same call has another one: a
`CallResult` keeps its text and is normalised, or merely compared, when it has to be. What a session
keeps for that is bounded by `ResultBudget`; a result beyond it is reduced to its digest at once.
JSON of more than 256 KiB is compared as it is, in its compact form.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import sys
from typing import Any, Final

import orjson

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_HASHED_CHARS: Final = 64 * 1024
"""Of longer arguments the rest goes through a faster hash first."""
_LARGEST_PLAIN_FLOAT: Final = 1e21
"""From here on JavaScript prints exponents."""
_VAGUE_TOOLS: Final = frozenset({"Edit", "Write", "Delete"})
_CHANGE_KINDS: Final = frozenset({"add", "update", "delete"})

_KEY_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)
_PLAIN_TYPES: Final = frozenset({str, int, bool, type(None)})
_LONGEST_PLAIN_KEY: Final = 128
"""Bytes. A longer key is replaced by its digest, so that a window of calls stays small."""
_POSITIVE_EXPONENT: Final = re.compile(rb"[0-9]e\+?[0-9]")

_incomparable = itertools.count()


def args_hash(args: Any) -> str:
    """Return the hash of a call's arguments; unlike any other if they cannot be compared."""
    try:
        text = _compact(_as_javascript(args))
    except (RecursionError, TypeError, ValueError):
        return _unlike_any_other()
    if len(text) > _HASHED_CHARS:
        rest = text[_HASHED_CHARS:].encode("utf-8", "surrogatepass")
        text = text[:_HASHED_CHARS] + hashlib.blake2b(rest).hexdigest()
    total = 0
    for unit in memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H"):
        total = (total * 31 + unit) & 0xFFFFFFFF
    return _base36(total - (1 << 32) if total >> 31 else total)


def args_key(args: Any) -> bytes | str:
    """Return a value that is equal for two calls if and only if their arguments are the same.

    The same means: one JSON text, with sorted keys and numbers as JavaScript prints them.
    Arguments that cannot be compared get a key unlike any other.
    """
    try:
        text = orjson.dumps(args, option=_KEY_OPTIONS)
    except TypeError:
        return _slow_key(args)
    if not _is_plain(args):
        canonical = _with_whole_floats_as_integers(text)
        if canonical is None:
            return _slow_key(args)
        text = canonical
    return _bounded(text)


def is_low_cardinality(tool_name: str, args: Any) -> bool:
    """True for edits that name the files but not the change, so that different ones look alike."""
    if tool_name not in _VAGUE_TOOLS or not isinstance(args, dict) or set(args) != {"changes"}:
        return False
    changes = args["changes"]
    return isinstance(changes, list) and bool(changes) and all(map(_is_bare_change, changes))


def _is_bare_change(change: Any) -> bool:
    return (
        isinstance(change, dict)
        and set(change) == {"kind", "path"}
        and isinstance(change["kind"], str)
        and change["kind"] in _CHANGE_KINDS
        and isinstance(change["path"], str)
    )


def _is_plain(args: Any) -> bool:
    """True for a flat mapping without floats, what most arguments are."""
    if type(args) is not dict:
        return False
    return all(type(value) in _PLAIN_TYPES for value in args.values())


def _with_whole_floats_as_integers(text: bytes) -> bytes | None:
    """Write ``1.0`` as ``1`` outside the strings of compact JSON.

    Return ``None`` if the text has a positive exponent, which only `_slow_key` resolves.
    """
    # Escaped quotes and backslashes step aside for control bytes, which JSON never holds.
    parts = text.replace(b"\\\\", b"\x00").replace(b'\\"', b"\x01").split(b'"')
    is_changed = False
    for index in range(0, len(parts), 2):  # the odd ones are strings
        part = parts[index]
        if b"e" in part and _POSITIVE_EXPONENT.search(part):
            return None
        if b".0" in part:
            part += b","  # a number can end the text, too
            for end in (b",", b"]", b"}"):
                part = part.replace(b".0" + end, end).replace(b"-0" + end, b"0" + end)
            parts[index] = part[:-1]
            is_changed = True
    if not is_changed:
        return text
    return b'"'.join(parts).replace(b"\x01", b'\\"').replace(b"\x00", b"\\\\")


def _slow_key(args: Any) -> bytes | str:
    try:
        value = _as_javascript(args)
        try:
            text = orjson.dumps(value, option=_KEY_OPTIONS)
        except TypeError:  # numbers beyond 64 bits, halves of surrogate pairs, great depth
            text = _compact(value).encode("utf-8", "surrogatepass")
    except (RecursionError, TypeError, ValueError):
        return _unlike_any_other()
    return _bounded(text)


def _bounded(text: bytes) -> bytes:
    if len(text) <= _LONGEST_PLAIN_KEY:
        return text
    return hashlib.blake2b(text, digest_size=32).digest()


def _unlike_any_other() -> str:
    return f"incomparable-{next(_incomparable)}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _as_javascript(value: Any) -> Any:
    """Sort keys and turn numbers into what ``JSON.stringify`` makes of them."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: str(key).encode("utf-16-be", "surrogatepass"))
        return {str(key): _as_javascript(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_as_javascript(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < _LARGEST_PLAIN_FLOAT else value
    return value


def _base36(number: int) -> str:
    digits, rest = "", abs(number)
    while rest:
        rest, digit = divmod(rest, 36)
        digits = _DIGITS[digit] + digits
    return ("-" if number < 0 else "") + (digits or "0")


KEPT_BYTES: Final = 2 * 1024 * 1024
"""How much of the results of one session is kept to be compared later."""
_MAX_NORMALISED_CHARS: Final = 256 * 1024
_JSON_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)

_UNIT: Final = r"(?:ms|µs|us|s|secs?|seconds?|m|mins?|minutes?|h|hours?)"
_NOISE: Final = re.compile(
    # The first character of a word, found by the fast search of the engine; then all its digits;
    # then, mostly in vain, what tells the kinds apart.
    rf"""
    [\da-fA-FrR](?<!\w.)(?:
      (?<=\d)\d*+(?=[-:.\s]|(?i:[muµshx])|(?<=\d{{10}}))(?i:
          (?<=\d{{4}})(?<!\d{{5}})                                             # dates
            -\d\d-\d\d(?:[T\ ]\d\d:\d\d(?::\d\d(?:[.,]\d{{1,9}})?)?Z?)?\b
        | (?<!\d{{3}}):\d\d(?::\d\d(?:[.,]\d{{1,9}})?)?Z?\b                    # times of day
        | (?<!\d{{13}})(?:\.\d{{1,12}}+)?+\s?+{_UNIT}                         # durations
            (?:\d{{1,12}}+(?:\.\d{{1,12}}+)?+\s?+{_UNIT}){{0,3}}\b
        | (?<=1[5-9]\d{{8}})(?<!\d{{11}})(?:\.\d{{1,9}})?\b                    # seconds since 1970
        | (?<=1[5-9]\d{{11}})(?<!\d{{14}})\b                                   # or milliseconds
        | (?<=0)(?<!\d\d)x[0-9a-f]{{4,16}}\b                                   # addresses
      )
    | (?<=[0-9a-fA-F])(?i:
          [0-9a-f]{{7}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}}\b)
    | (?<=[rR])(?i:eq(?:uest)?[-_][A-Za-z0-9]{{8,64}})                         # request ids
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_BORDER: Final = re.compile(r"""["'/=(){}\[\]<>|;\\]|\W(?=\W)|\n(?=\d)|(?<!-\d\d) (?=\d)""")
r"""A place that lies in no noise: before it and from it on, a text can be normalised apart.

Noise has single characters of punctuation or space between letters and digits only, a line end only
before a unit, and a space before a digit only after a date.
"""
_MIN_WINDOWED_CHARS: Final = 8 * 1024
"""Shorter texts are normalised whole: that is done once for each, windows once for each pair."""
_FIRST_WINDOW_CHARS: Final = 1024
_WINDOW_GROWTH: Final = 8
_BORDER_WITHIN_CHARS: Final = 1024


class ResultBudget:
    """How many bytes of results one session may still keep."""

    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self.left_bytes = limit_bytes


class CallResult:
    """One result of a call, kept until it is released as often as it was retained.

    Args:
        result: a string, or anything that JSON can say.
        budget: of the session; without room the result is reduced to its digest at once.
    """

    __slots__ = ("_budget", "_digest", "_form", "_kept_bytes", "_owners")

    def __init__(self, result: Any, budget: ResultBudget) -> None:
        self._budget = budget
        self._owners = 1
        self._digest: bytes | None = None
        self._form: str | bytes | None = None
        """The text itself, or compact JSON; ``None`` if only the digest is kept."""
        self._kept_bytes = 0
        if isinstance(result, str):
            self._keep(result)
            return
        try:
            self._keep(orjson.dumps(result, option=_JSON_OPTIONS))
        except TypeError:
            self._digest = result_digest(result)

    def retain(self) -> CallResult:
        """Count one more owner."""
        self._owners += 1
        return self

    def release(self) -> None:
        """Count one owner less; the last one gives back the room."""
        self._owners -= 1
        if not self._owners:
            self._drop()

    def is_same(self, other: CallResult) -> bool:
        """True if both say the same, whenever and however fast they came."""
        if self._form is not None and self._form == other._form:
            return True
        if self._digest is None or other._digest is None:
            one, two = self._text(), other._text()
            if one is not None and two is not None and _differ_visibly(one, two):
                return False
        return self._identity() == other._identity()

    def _keep(self, form: str | bytes) -> None:
        self._drop()
        self._form = form
        size = sys.getsizeof(form)
        if size > self._budget.left_bytes:
            self._identity()
            self._form = None
            return
        self._kept_bytes = size
        self._budget.left_bytes -= size

    def _drop(self) -> None:
        self._budget.left_bytes += self._kept_bytes
        self._form, self._kept_bytes = None, 0

    def _text(self) -> str | None:
        """Return the text; ``None`` if it is gone, or of JSON that is too long to be normalised."""
        form = self._form
        if isinstance(form, bytes):
            if len(form) > _MAX_NORMALISED_CHARS:
                return None
            form = json.dumps(orjson.loads(form), sort_keys=True)
            self._keep(form)
        return form

    def _identity(self) -> bytes:
        if self._digest is None:
            text = self._text()
            if text is not None:
                self._digest = _digest(_normalised(text).encode("utf-8", "surrogatepass"))
            elif isinstance(self._form, bytes):
                self._digest = _digest(self._form)
        return self._digest or b""


def result_digest(result: Any) -> bytes:
    """Return what identifies a result, whenever and however fast it came."""
    if not isinstance(result, str):
        try:
            result = json.dumps(result, sort_keys=True, default=str)
        except (RecursionError, TypeError, ValueError):
            result = type(result).__name__
    return _digest(_normalised(result).encode("utf-8", "surrogatepass"))


def _normalised(text: str) -> str:
    return _NOISE.sub("~", text) if len(text) <= _MAX_NORMALISED_CHARS else text


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _differ_visibly(one: str, two: str) -> bool:
    """True if the texts are seen to differ, normalised, close to where they first differ.

    False says nothing. The normalisation of a long text takes milliseconds; this mostly tells from
    a few hundred characters.
    """
    if not _MIN_WINDOWED_CHARS <= max(len(one), len(two)) <= _MAX_NORMALISED_CHARS:
        return False  # a longer one is not normalised
    first = _first_difference(one, two)
    start = _last_border(one, max(0, first - _BORDER_WITHIN_CHARS), first)
    if start is None:
        if first > _BORDER_WITHIN_CHARS:
            return False
        start = 0
    size = _FIRST_WINDOW_CHARS
    while start + size < min(len(one), len(two)):
        pieces = []
        for text in (one, two):
            end = _last_border(text, start + 1, start + size)
            pieces.append(_NOISE.sub("~", text[start:end]) if end else "")
        shared = min(map(len, pieces))
        if pieces[0][:shared] != pieces[1][:shared]:
            return True
        size *= _WINDOW_GROWTH
    return False


def _first_difference(one: str, two: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _last_border(text: str, start: int, end: int) -> int | None:
    last = None
    for match in _BORDER.finditer(text, max(start, end - _BORDER_WITHIN_CHARS), end):
        last = match
    return None if last is None else last.start()
