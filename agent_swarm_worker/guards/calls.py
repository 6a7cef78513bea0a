"""Compare tool calls: whether two have the same arguments, and two results the same content.

`args_key` is equal for equal arguments: one JSON text with sorted keys and numbers as JavaScript
prints them.

Two results are the same if they differ only in times, durations and ids: in text, in the fields of
JSON by their names (a harness's item, a tool's answer), and in the call's own id. Most calls are
made once, so a `CallResult` keeps its text and is compared or normalised only when the same call
has another result. `ResultBudget` limits what a session keeps; a result beyond it is reduced to its
digest. Text of more than 256 KiB is compared without normalising.
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

_LARGEST_PLAIN_FLOAT: Final = 1e21
"""JavaScript prints numbers from here on with an exponent."""
_VAGUE_TOOLS: Final = frozenset({"Edit", "Write", "Delete"})
_CHANGE_KINDS: Final = frozenset({"add", "update", "delete"})

_JSON_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)
_PLAIN_TYPES: Final = frozenset({str, int, bool, type(None)})
_LONGEST_PLAIN_KEY: Final = 128
"""Bytes. A longer key is replaced by its digest, so that a window of calls stays small."""
_POSITIVE_EXPONENT: Final = re.compile(rb"[0-9]e\+?[0-9]")
_OF_THE_CALL: Final = frozenset(
    f"{owner}{noun}"
    for owner in ("tool_call", "toolCall", "tool_use", "toolUse", "toolcall")
    for noun in ("_id", "Id", "ID", "id")
) | {"_meta", "idempotency_key", "idempotencyKey"}
"""Arguments that identify the call itself, not what is asked."""

_incomparable = itertools.count()


def args_key(args: Any) -> bytes | str:
    """Return a key that two calls share if and only if their arguments are the same.

    Arguments that cannot be compared get a key of their own.
    """
    if type(args) is dict and not _OF_THE_CALL.isdisjoint(args):
        args = {name: value for name, value in args.items() if name not in _OF_THE_CALL}
    try:
        text = orjson.dumps(args, option=_JSON_OPTIONS)
    except TypeError:
        return _slow_key(args)
    if not _is_plain(args):
        canonical = _with_whole_floats_as_integers(text)
        if canonical is None:
            return _slow_key(args)
        text = canonical
    return _bounded(text)


def is_low_cardinality(tool_name: str, args: Any) -> bool:
    """True for an edit whose arguments name the files but not the change."""
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
    """True for a flat mapping without floats, as most arguments are."""
    if type(args) is not dict:
        return False
    return _PLAIN_TYPES.issuperset(map(type, args.values()))


def _with_whole_floats_as_integers(text: bytes) -> bytes | None:
    """Write ``1.0`` as ``1`` outside the strings of compact JSON.

    Returns ``None`` for a text with a positive exponent, which only `_slow_key` resolves.
    """
    # Replace escaped quotes and backslashes by control bytes, which JSON never holds.
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
            text = orjson.dumps(value, option=_JSON_OPTIONS)
        except TypeError:  # numbers beyond 64 bits, halves of surrogate pairs, great depth
            text = _compact(value).encode("utf-8", "surrogatepass")
    except (RecursionError, TypeError, ValueError):
        return _unique_key()
    return _bounded(text)


def _bounded(text: bytes) -> bytes:
    if len(text) <= _LONGEST_PLAIN_KEY:
        return text
    return hashlib.blake2b(text, digest_size=32).digest()


def _unique_key() -> str:
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


MAX_KEPT_BYTES: Final = 2 * 1024 * 1024
"""Limit on the results of one session that are kept for later comparisons."""
_MAX_NORMALISED_CHARS: Final = 256 * 1024

_JSON_STARTS: Final = frozenset("{[")
_UNIT: Final = r"(?:ms|µs|us|s|secs?|seconds?|m|mins?|minutes?|h|hours?)"
_NOISE: Final = re.compile(
    # The first character of a word, for which the engine has a fast search; then all its digits;
    # then the part that tells the kinds apart, which rarely matches.
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
_IDENTITY: Final = re.compile(
    # In JSON, and in JSON inside a string of it.
    r"""
    (\\?)"(?:
      (?i:
        (?:(?:tool|function|parent)[_-]?)?(?:call|use|item|request|message|msg|event|part|step|turn
          |run|session|thread|trace|span|chunk|process|correlation|invocation|execution|response)
          [_-]?id | uuid | guid | nonce | etag | pid
        | (?:(?:created|start|started|began|begin|end|ended|finished|completed|stop|stopped|updated
          |modified|received|emitted|sent|generated|fetched|client|server)[_-]?)
          (?:at|time|timestamp|ts)(?:[_-]?(?:ms|unix|utc))?
        | time | timestamp(?:[_-]?ms)? | ts
        | (?:(?:total|api|exec|execution|run)[_-]?)?(?:duration|elapsed|latency|runtime|took
          |wall[_-]?time)(?:[_-]?(?:ms|s|secs?|seconds?|millis|milliseconds|us|ns|time))?
      )\1":\s?(?:\1"(?:[^"\\]++|(?!\1")\\.)*+\1"|[^\s,"\\{}\[\]]++)
      | id\1":\s?\1"(?:call|chatcmpl|evt|event|exec|fco?|item|msg|message|part|prt|req|resp|rs|step
        |tool|toolu|tooluse|turn|ws)[_-][\w-]++\1"
    )
    """,
    re.VERBOSE | re.DOTALL,
)
"""A field with the time, the duration or the id of a call. A plain ``id`` may be what was asked
for, so its value must look like that of a harness."""
_LONG_ID_CHARS: Final = 6
"""An id of a call that is shorter is replaced only where it is a whole string."""
_BORDER: Final = re.compile(r"""["'/=(){}\[\]<>|;\\]|\W(?=\W)|\n(?=\d)|(?<!-\d\d) (?=\d)""")
r"""A position inside no noise: the text before it and from it on can be normalised separately.

Inside noise a single character of punctuation or space stands between letters and digits only, a
line end only before a unit, and a space before a digit only after a date.
"""
_MIN_WINDOWED_CHARS: Final = 8 * 1024
"""A shorter text is normalised whole, once; windows are normalised once for each pair."""
_FIRST_WINDOW_CHARS: Final = 1024
_WINDOW_GROWTH: Final = 8
_BORDER_WITHIN_CHARS: Final = 1024


class ResultBudget:
    """Counts how many bytes of results one session may still keep."""

    def __init__(self, limit_bytes: int = MAX_KEPT_BYTES) -> None:
        self.left_bytes = limit_bytes


class CallResult:
    """One result of a call, a string or JSON values.

    Its text is freed when it was released as often as retained; without room in the session's
    `budget` it is reduced to its digest at once.
    """

    __slots__ = ("_budget", "_call_id", "_digest", "_form", "_is_bare", "_kept_bytes", "_owners")

    def __init__(self, result: Any, budget: ResultBudget, call_id: str = "") -> None:
        self._budget = budget
        self._call_id = call_id
        self._is_bare = False
        """The text has no fields of identity any more."""
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
            self._digest = result_digest(result, call_id)

    def retain(self) -> CallResult:
        """Count one more owner."""
        self._owners += 1
        return self

    def release(self) -> None:
        """Count one owner less; the last one returns the bytes to the budget."""
        self._owners -= 1
        if not self._owners:
            self._drop()

    def is_same(self, other: CallResult) -> bool:
        """True if both are the same apart from times, durations and ids."""
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
        """Return the text; ``None`` if only the digest is left, or for JSON that is too long."""
        form = self._form
        if form is None or (isinstance(form, str) and self._is_bare):
            return form
        if isinstance(form, bytes):
            if len(form) > _MAX_NORMALISED_CHARS:
                return None
            form = json.dumps(orjson.loads(form), sort_keys=True)
        self._is_bare = True
        bare = _without_identity(form, self._call_id)
        if bare is not self._form:
            self._keep(bare)
        return bare

    def _identity(self) -> bytes:
        if self._digest is None:
            text = self._text()
            if text is not None:
                self._digest = _digest(_normalised(text).encode("utf-8", "surrogatepass"))
            elif isinstance(self._form, bytes):
                self._digest = _digest(
                    _without_identity(self._form.decode(), self._call_id).encode()
                )
        return self._digest or b""


def result_digest(result: Any, call_id: str = "") -> bytes:
    """Return a digest that is equal for results that are the same."""
    if not isinstance(result, str):
        try:
            result = json.dumps(result, sort_keys=True, default=str)
        except (RecursionError, TypeError, ValueError):
            result = type(result).__name__
    bare = _without_identity(result, call_id)
    return _digest(_normalised(bare).encode("utf-8", "surrogatepass"))


def _without_identity(text: str, call_id: str) -> str:
    """Remove the fields of `_IDENTITY` from JSON, and the call's id."""
    if text[:1] in _JSON_STARTS:
        text = _IDENTITY.sub("", text)
    if call_id and call_id in text:
        is_long = len(call_id) >= _LONG_ID_CHARS
        return text.replace(call_id if is_long else f'"{call_id}"', "~")
    return text


def _normalised(text: str) -> str:
    return _NOISE.sub("~", text) if len(text) <= _MAX_NORMALISED_CHARS else text


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _differ_visibly(one: str, two: str) -> bool:
    """True if the normalised texts differ close to where the texts first differ.

    False proves nothing. To normalise a long text takes milliseconds; this usually needs a few
    hundred characters.
    """
    if not _MIN_WINDOWED_CHARS <= max(len(one), len(two)) <= _MAX_NORMALISED_CHARS:
        return False  # a longer text is not normalised
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
