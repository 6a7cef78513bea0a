"""What makes two tool calls, or two results, the same.

The hash of the arguments is that of the public worker (harness reference 13, vectors in 24):
JSON with sorted keys as JavaScript prints it, 32 bits over UTF-16, in base 36.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from typing import Any, Final

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_HASHED_CHARS: Final = 64 * 1024
"""Of longer arguments the rest goes through a faster hash first."""
_MAX_NORMALISED_CHARS: Final = 256 * 1024
_LARGEST_PLAIN_FLOAT: Final = 1e21
"""From here on JavaScript prints exponents."""
_VAGUE_TOOLS: Final = frozenset({"Edit", "Write", "Delete"})
_CHANGE_KINDS: Final = frozenset({"add", "update", "delete"})

_NOISE: Final = re.compile(
    r"""
      \b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?Z?)?\b  # dates
    | \b\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,9})?)?Z?\b                    # times of day
    | \b(?:\d{1,12}(?:\.\d{1,12})?\s?                           # durations
        (?:ms|µs|us|s|secs?|seconds?|m|mins?|minutes?|h|hours?)){1,4}\b
    | \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b
    | \b0x[0-9a-f]{4,16}\b                                      # addresses
    | \breq(?:uest)?[-_][A-Za-z0-9]{8,64}                       # request ids
    | \b1[5-9]\d{8}(?:\d{3}|\.\d{1,9})?\b                       # seconds or milliseconds since 1970
    """,
    re.VERBOSE | re.IGNORECASE,
)

_incomparable = itertools.count()


def args_hash(args: Any) -> str:
    """Return the hash of a call's arguments; unlike any other if they cannot be compared."""
    try:
        text = json.dumps(_as_javascript(args), ensure_ascii=False, separators=(",", ":"))
    except (RecursionError, TypeError, ValueError):
        return f"incomparable-{next(_incomparable)}"
    if len(text) > _HASHED_CHARS:
        rest = text[_HASHED_CHARS:].encode("utf-8", "surrogatepass")
        text = text[:_HASHED_CHARS] + hashlib.blake2b(rest).hexdigest()
    total = 0
    for unit in memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H"):
        total = (total * 31 + unit) & 0xFFFFFFFF
    return _base36(total - (1 << 32) if total >> 31 else total)


def is_low_cardinality(tool_name: str, args: Any) -> bool:
    """True for edits that name the files but not the change, so that different ones look alike."""
    if tool_name not in _VAGUE_TOOLS or not isinstance(args, dict) or set(args) != {"changes"}:
        return False
    changes = args["changes"]
    return isinstance(changes, list) and bool(changes) and all(map(_is_bare_change, changes))


def result_digest(result: Any) -> bytes:
    """Return what identifies a result, whenever and however fast it came."""
    if not isinstance(result, str):
        try:
            result = json.dumps(result, sort_keys=True, default=str)
        except (RecursionError, TypeError, ValueError):
            result = type(result).__name__
    if len(result) <= _MAX_NORMALISED_CHARS:
        result = _NOISE.sub("~", result)
    return hashlib.blake2b(result.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_bare_change(change: Any) -> bool:
    return (
        isinstance(change, dict)
        and set(change) == {"kind", "path"}
        and isinstance(change["kind"], str)
        and change["kind"] in _CHANGE_KINDS
        and isinstance(change["path"], str)
    )


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
