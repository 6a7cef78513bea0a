"""Tell whether two tool calls have the same arguments.

`args_hash` is the hash of the public worker: JSON with sorted keys as JavaScript prints it, 32 bits
over UTF-16, in base 36. `args_key` is equal for the same
arguments, is computed in a fraction of the time, and has no collisions.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
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
