"""Scrubbing one line of JSON so that it stays JSON.

Replacing bytes in JSON is not safe: a secret of digits can stand in a number, one that reads
``,"id":`` in the structure, one that starts with ``n`` right after a backslash. So a line in which
anything was found is rewritten token by token: a string is decoded, scrubbed and encoded again, and
a number that gives something away becomes a string. What is not touched stays byte for byte as it
was: order, repeated keys, spaces, huge numbers, any depth.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import orjson

from agent_swarm_worker.guards.escapes import (
    find_behind_escapes,
    has_unusual_escapes,
    may_hide_in_strings,
    unusual_escapes,
)
from agent_swarm_worker.guards.matcher import Span, is_inside, merge, placeholder, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent_swarm_worker.guards.matcher import Matcher

_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|-?[0-9][0-9.eE+-]*+', re.DOTALL)
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_JSON_STARTS: Final = (b"{", b"[", b'"')
_MAX_INTEGER_DIGITS: Final = 18


def scrub_json_line(line: bytes, matcher: Matcher) -> tuple[bytes, Any]:
    """Scrub one line; return it and its value, or ``None`` as the value if it is not JSON.

    Valid JSON stays valid JSON. Bytes that are not UTF-8 and halves of surrogate pairs, which
    truncating harnesses produce, become U+FFFD.
    """
    try:
        line, value = _load(line)
    except ValueError:
        found = merge(find_behind_escapes(line, matcher))
        return (replace(line, found) if found else line), None
    found = merge(matcher.find(line))
    if not found and not may_hide_in_strings(line, matcher):
        return line, value
    clean = _rewrite(line, found, matcher)
    return (line, value) if clean == line else _load(clean)


def scrub_json_lines(lines: Sequence[bytes], matcher: Matcher) -> list[tuple[bytes, Any]]:
    """Scrub several lines, each as `scrub_json_line` does.

    They are searched in one piece. Only a line in which a secret may begin, or which has unusual
    escapes, is looked at by itself; nearly none does.
    """
    if len(lines) < 2:
        return [scrub_json_line(line, matcher) for line in lines]
    data = b"\n".join(lines)
    suspects = _lines_at(lines, [*matcher.possible(data), *unusual_escapes(data)])
    taken: list[tuple[bytes, Any]] = []
    for number, line in enumerate(lines):
        if number not in suspects:
            try:
                taken.append((line, orjson.loads(line)))
                continue
            except orjson.JSONDecodeError:
                pass
        taken.append(scrub_json_line(line, matcher))
    return taken


def _lines_at(lines: Sequence[bytes], offsets: list[int]) -> set[int]:
    """Return the numbers of the lines in which these offsets of the joined lines lie."""
    if not offsets:
        return set()
    ends = list(accumulate(len(line) + 1 for line in lines))
    return {bisect_right(ends, offset) for offset in offsets}


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Return a copy of a JSON value with every string changed, keys included.

    Works at any depth: the parser accepts deeper nesting than Python recursion does.
    """

    def copy(child: Any) -> Any:
        if isinstance(child, str):
            return change(child)
        if isinstance(child, dict):
            child = {change(k) if isinstance(k, str) else k: v for k, v in child.items()}
        elif isinstance(child, list | tuple):
            child = list(child)
        else:
            return child
        pending.append(child)
        return child

    pending: list[dict[Any, Any] | list[Any]] = []
    root = copy(value)
    while pending:
        container = pending.pop()
        places = list(container) if isinstance(container, dict) else range(len(container))
        for place in places:
            container[place] = copy(container[place])
    return root


def _rewrite(line: bytes, found: Sequence[Span], matcher: Matcher) -> bytes:
    ends = [span.end for span in found]
    is_plain = not has_unusual_escapes(line)

    def clean(match: re.Match[bytes]) -> bytes:
        begin, end = match.span()
        first = last = bisect_right(ends, begin)
        while last < len(found) and found[last].start < end:
            last += 1
        if is_plain and first == last:
            return match[0]
        hits = [Span(s.start - begin, s.end - begin, s.name) for s in found[first:last]]
        token = match[0]
        return _clean_token(token, hits, matcher) if hits or has_unusual_escapes(token) else token

    return _TOKEN.sub(clean, line)


def _clean_token(token: bytes, hits: Sequence[Span], matcher: Matcher) -> bytes:
    """Scrub one string or number, given what was found where it stands, relative to it."""
    if not token.startswith(b'"'):
        return _masked(hits)
    if hits and (hits[0].start < 1 or hits[-1].end > len(token) - 1):
        return _masked(hits)  # the secret reaches into the structure around the token
    text = _decode(token)
    found = merge(find_behind_escapes(text, matcher))
    clean = orjson.dumps(replace(text, found).decode("utf-8", "replace")) if found else token
    alone = [(span.start, span.end) for span in merge(matcher.find(token))] if hits else []
    if not all(is_inside(hit, alone) for hit in hits):
        clean = replace(token, hits)  # some are secrets only by what stands around the token
    if not hits and not found:
        return token
    return clean if _is_clean(clean, matcher) else _masked(hits or found)


def _is_clean(token: bytes, matcher: Matcher) -> bool:
    try:
        return not matcher.find(token) and not find_behind_escapes(_decode(token), matcher)
    except ValueError:  # cut in the middle of an escape
        return False


def _masked(hits: Sequence[Span]) -> bytes:
    return b'"%b"' % placeholder(hits[0].name)


def _decode(token: bytes) -> bytes:
    """Return what a JSON string says, as UTF-8."""
    try:
        text = orjson.loads(token)
    except orjson.JSONDecodeError:
        text = json.loads(token.decode("utf-8", "replace"))
    return _mended(text).encode()


def _load(line: bytes) -> tuple[bytes, Any]:
    """Parse a line; return it, mended if it had to be, and its value.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return line, orjson.loads(line)
    except orjson.JSONDecodeError:
        if not line.lstrip().startswith(_JSON_STARTS):
            raise
    line = _TOKEN.sub(_mend_token, line.decode("utf-8", "replace").encode())
    try:
        return line, json.loads(line, parse_int=_integer, parse_constant=_refuse)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error


def _mend_token(match: re.Match[bytes]) -> bytes:
    token = match[0]
    if b"\\u" not in token:
        return token
    try:
        text = json.loads(token)
    except ValueError:
        return token
    return orjson.dumps(_mended(text)) if _LONE_SURROGATE.search(text) else token


def _mended(text: str) -> str:
    return _LONE_SURROGATE.sub("\ufffd", text)


def _integer(digits: str) -> int | float:
    """Beyond 64 bits as a float, like the fast parser; Python refuses more than 4300 digits."""
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else float(digits)


def _refuse(constant: str) -> None:
    msg = f"{constant} is not JSON"
    raise ValueError(msg)
