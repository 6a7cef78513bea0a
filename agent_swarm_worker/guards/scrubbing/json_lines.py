r"""Scrub a line of JSON so that it stays JSON.

Replacing bytes in JSON is not safe: a secret of digits can be inside a number, one that reads
``,"id":`` in the structure, one that starts with ``n`` right after a backslash. So a line with a
match is rewritten token by token: a string is decoded, scrubbed and encoded again, and a number
with a secret in it becomes a string. All other bytes are unchanged: order, repeated keys, spaces,
huge numbers, any depth.

Needles have the escapes that JSON requires, also in JSON inside a string. A text with other ones
(``\u0041`` for an A, ``\/`` for a slash, deeper nested strings) is searched again with one level of
escapes removed, and again while there are some left.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import orjson
from ahocorasick_rs import MATCHKIND_STANDARD, BytesAhoCorasick, Implementation

from agent_swarm_worker.guards.scrubbing.matcher import Span, is_inside, merge, placeholder, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent_swarm_worker.guards.scrubbing.matcher import Matcher

_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|-?[0-9][0-9.eE+-]*+', re.DOTALL)
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_JSON_STARTS: Final = (b"{", b"[", b'"')
_MAX_INTEGER_DIGITS: Final = 18


def scrub_json_line(
    line: bytes, matcher: Matcher, *, keeps_structure: bool = False
) -> tuple[bytes, Any]:
    """Scrub one line; return it and its value, or ``None`` as the value if it is not JSON.

    With `keeps_structure` the value (not the line) has the words of the protocol unchanged.

    Valid JSON stays valid JSON. Bytes that are not UTF-8 and halves of surrogate pairs, which
    truncating harnesses produce, become U+FFFD.
    """
    try:
        line, value = _load(line)
    except ValueError:
        found = merge(find_behind_escapes(line, matcher))
        return (replace(line, found) if found else line), None
    found = merge(matcher.find(line))
    if not found and not _may_hide_in_strings(line, matcher):
        return line, value
    clean = _rewrite(line, found, matcher)
    if clean == line:
        return line, value
    clean, scrubbed = _load(clean)
    return clean, with_structure(scrubbed, value) if keeps_structure else scrubbed


WORD: Final = re.compile(r"[A-Za-z][A-Za-z_./]{0,39}")
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z_]{0,39}")
_STRUCTURE: Final = frozenset({"type", "subtype", "method", "role", "status", "state", "event"})
"""Keys whose values are words of a protocol."""
_FREE_FORM: Final = frozenset({"input", "arguments", "args"})
"""Keys whose values have keys of their own, which are no words of a protocol."""


def with_structure(scrubbed: Any, native: Any) -> Any:
    """Put the words of the protocol back into a scrubbed value that is to be translated.

    A weak secret may equal one (``result``). They are keys and types, which no event repeats;
    the line itself stays scrubbed.
    """
    pending = [(scrubbed, native)]
    while pending:
        copy, original = pending.pop()
        if isinstance(copy, list):
            pending += zip(copy, original, strict=True)
        elif isinstance(copy, dict) and len(copy) == len(original):  # no two keys became one
            items = list(copy.items())
            copy.clear()
            for (clean_key, value), (key, was) in zip(items, original.items(), strict=True):
                is_word = key in _STRUCTURE and isinstance(was, str) and WORD.fullmatch(was)
                copy[key if _KEY.fullmatch(key) else clean_key] = was if is_word else value
                if key not in _FREE_FORM:
                    pending.append((value, was))
    return scrubbed


def scrub_json_lines(lines: Sequence[bytes], matcher: Matcher) -> list[tuple[bytes, Any]]:
    """Scrub several lines of a protocol, each as `scrub_json_line` does with `keeps_structure`.

    They are searched joined. Only a line with a secret in it is scrubbed by itself; few are.
    """
    data = b"\n".join(lines)
    spans = matcher.find(data)
    with_secret = set(_lines_at(lines, [(span.start, span.end - 1) for span in spans]))
    divided = [span for span in spans if b"\n" in data[span.start : span.end]]
    begins = unusual_escapes(data)
    for number in _lines_at(lines, [(begin, begin) for begin in begins]):
        if number not in with_secret and _may_hide_in_strings(lines[number], matcher):
            with_secret.add(number)
    scrubbed: list[tuple[bytes, Any]] = []
    for number, line in enumerate(lines):
        if number not in with_secret:
            try:
                scrubbed.append((line, orjson.loads(line)))
                continue
            except orjson.JSONDecodeError:
                pass
        clean = scrub_json_line(line, matcher, keeps_structure=True)
        if divided and number in with_secret and clean[1] is None:
            begin = sum(map(len, lines[:number])) + number
            clean = _without_parts(line, begin, divided, matcher), None
        scrubbed.append(clean)
    return scrubbed


def _without_parts(line: bytes, begin: int, divided: list[Span], matcher: Matcher) -> bytes:
    """Scrub a line of text, also the parts in it of secrets that several lines share."""
    parts = [
        Span(max(span.start - begin, 0), min(span.end - begin, len(line)), span.name)
        for span in divided
        if span.start < begin + len(line) and span.end > begin
    ]
    return replace(line, merge(sorted([*find_behind_escapes(line, matcher), *parts])))


def _lines_at(lines: Sequence[bytes], ranges: list[tuple[int, int]]) -> list[int]:
    """Return the numbers of the lines that these ranges (first, last) of the joined lines touch."""
    if not ranges:
        return []
    ends = list(accumulate(len(line) + 1 for line in lines))
    touched: set[int] = set()
    for first, last in ranges:
        touched.update(range(bisect_right(ends, first), bisect_right(ends, last) + 1))
    return sorted(touched)


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
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            container[key] = copy(container[key])
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
    """Scrub one string or number; `hits` are the matches in it, relative to its start."""
    if not token.startswith(b'"'):
        return _masked(hits)
    if hits and (hits[0].start < 1 or hits[-1].end > len(token) - 1):
        return _masked(hits)  # the secret reaches into the structure around the token
    text = _decode(token)
    found = merge(find_behind_escapes(text, matcher))
    clean = orjson.dumps(replace(text, found).decode("utf-8", "replace")) if found else token
    alone = [(span.start, span.end) for span in merge(matcher.find(token))] if hits else []
    if not all(is_inside(hit, alone) for hit in hits):
        clean = replace(token, hits)  # some are secrets only by the bytes around the token
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
    """Decode a JSON string to UTF-8."""
    try:
        text = orjson.loads(token)
    except orjson.JSONDecodeError:
        text = json.loads(token.decode("utf-8", "replace"))
    return _mended(text).encode()


def _load(line: bytes) -> tuple[bytes, Any]:
    """Parse a line; return it, with invalid Unicode replaced, and its value.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return line, orjson.loads(line)
    except orjson.JSONDecodeError:
        if not line.lstrip().startswith(_JSON_STARTS):
            raise
    line = line.decode("utf-8", "replace").encode()
    if _HALF_PAIR.search(line):
        line = _ESCAPED.sub(_mend_escape, line)
    parse_int = _integer if _LONG_NUMBER.search(line) else None
    try:
        return line, json.loads(line, parse_int=parse_int, parse_constant=_refuse)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error


_LONG_NUMBER: Final = re.compile(rb"[0-9]{%d}" % (_MAX_INTEGER_DIGITS + 1))
_HALF_PAIR: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPED: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\(?:(u[dD][89a-fA-F][0-9a-fA-F]{2})|u|[^u])"
)


def _mend_escape(match: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if match[1] else match[0]


def _mended(text: str) -> str:
    return _LONE_SURROGATE.sub("\ufffd", text)


def _integer(digits: str) -> int | float:
    """Parse an integer; beyond 64 bits as a float, since Python refuses more than 4300 digits."""
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else float(digits)


def _refuse(constant: str) -> None:
    msg = f"{constant} is not JSON"
    raise ValueError(msg)


MAX_LEVELS: Final = 4
"""How many levels of escapes are removed."""

_PLAIN_AS_ESCAPE: Final = re.compile(rb"\\u00[02-7]")
_LONG_BYTES: Final = 2048
_UNUSUAL: Final = BytesAhoCorasick(
    [b"\\/", b"\\" * 4, *(b"\\u00%d" % digit for digit in (0, *range(2, 8)))],
    MATCHKIND_STANDARD,
    Implementation.DFA,
).find_matches_as_indexes
"""The search for long texts, which are full of line ends, and so of backslashes."""
_ESCAPE: Final = re.compile(rb'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))')
_SHORT: Final = dict(zip(b"bfnrt", b"\b\f\n\r\t", strict=True))
_CODE_ESCAPE: Final = re.compile(rb"\\u([0-9A-Fa-f]{4})()")
_SIMPLE_ESCAPES: Final = (
    (b'\\"', b'"'),
    (b"\\/", b"/"),
    *((b"\\%c" % letter, b"%c" % plain) for letter, plain in _SHORT.items()),
)
_STAND_INS: Final = (b"\xff", b"\xfe", b"\xf8", b"\x00", b"\x01")
"""Bytes that rarely occur in text."""
_BYTES_PER_SUBSTITUTION: Final = 64
"""With fewer escapes than one in so many bytes, one regular expression beats nine replacements."""
_SURROGATES: Final = range(0xD800, 0xE000)


def has_unusual_escapes(data: bytes) -> bool:
    r"""True if `data` has a plain character as an escape, or one that is escaped three times."""
    if b"\\" not in data:  # a single byte is looked for much faster than two
        return False
    if len(data) > _LONG_BYTES:
        return bool(_UNUSUAL(data, overlapping=False))
    return (
        b"\\/" in data
        or b"\\\\\\\\" in data
        or (b"\\u00" in data and _PLAIN_AS_ESCAPE.search(data) is not None)
    )


def unusual_escapes(data: bytes) -> list[int]:
    """Return where unusual escapes begin; of several that overlap at least one."""
    if b"\\" not in data:
        return []
    return [begin for _, begin, _ in _UNUSUAL(data, overlapping=False)]


def find_behind_escapes(data: bytes, matcher: Matcher) -> list[Span]:
    """Return the spans of secrets in `data`, at any level of escapes; sorted, not merged."""
    spans = matcher.find(data)
    if not _has_more_behind_escapes(data, matcher):
        return spans
    levels: list[list[tuple[int, int]]] = []
    for _ in range(MAX_LEVELS):
        data, shifts = _unescaped(data)
        levels.append(shifts)
        for start, end, name in matcher.find(data):
            for level in reversed(levels):
                # The end is that of the last character, which may be an escape.
                start, end = _origin(level, start)[0], _origin(level, end - 1)[1]  # noqa: PLW2901
            spans.append(Span(start, end, name))
        if not has_unusual_escapes(data):
            break
    spans.sort(key=lambda span: (span.start, -span.end))
    return spans


def _may_hide_in_strings(line: bytes, matcher: Matcher) -> bool:
    """True if `find_behind_escapes` may find a secret in one of the strings of a line of JSON.

    False is certain. All strings are searched joined, which takes a fraction of the time.
    """
    if not has_unusual_escapes(line):
        return False
    try:
        text = "\n".join(_strings_of(line)).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return True
    return bool(matcher.find(text)) or _has_more_behind_escapes(text, matcher)


def _strings_of(line: bytes) -> Iterator[str]:
    """Yield every string in a line of JSON, keys included, also those of repeated keys."""
    # A list of pairs keeps the values of repeated keys, which a dictionary would drop.
    pending = [json.loads(line, object_pairs_hook=list, parse_int=_no_number)]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, (list, tuple)):
            pending += value


def _no_number(_: str) -> None:
    """Ignore a number, which may have more digits than Python converts."""


def _has_more_behind_escapes(data: bytes, matcher: Matcher) -> bool:
    """True if a secret is found at any level of unusual escapes."""
    for _ in range(MAX_LEVELS):
        if not has_unusual_escapes(data):
            return False
        data = _plain_text(data)
        if matcher.find(data):
            return True
    return False


def _plain_text(data: bytes) -> bytes:
    """Remove one level of escapes, like `_unescaped`, without the positions.

    Escaped backslashes are replaced by a byte that `data` does not have; each remaining backslash
    then begins an escape or means itself, whatever precedes it.
    """
    if data.count(b"\\") * _BYTES_PER_SUBSTITUTION < len(data):
        return _ESCAPE.sub(_plain, data)
    stand_in = next((byte for byte in _STAND_INS if byte not in data), None)
    if stand_in is None:
        return _unescaped(data)[0]
    data = data.replace(b"\\\\", stand_in)
    if b"\\" in data:
        for escape, plain in _SIMPLE_ESCAPES:
            data = data.replace(escape, plain)
        if b"\\u" in data:
            data = _CODE_ESCAPE.sub(_plain, data)
    return data.replace(stand_in, b"\\")


def _unescaped(data: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """Remove one level of escapes; also return pairs of ``(offset in result, offset in data)``."""
    parts: list[bytes] = []
    shifts = [(0, 0)]
    size = position = 0
    for match in _ESCAPE.finditer(data):
        plain = _plain(match)
        parts += (data[position : match.start()], plain)
        size += match.start() - position
        # The first byte maps to all of the escape; the next pair aligns the bytes behind it.
        shifts += ((size, match.start()), (size + len(plain), match.end()))
        size += len(plain)
        position = match.end()
    return b"".join((*parts, data[position:])), shifts


def _plain(match: re.Match[bytes]) -> bytes:
    if match[2]:
        char = match[2][0]
        return bytes([_SHORT.get(char, char)])
    code = int(match[1], 16)
    # Half of a surrogate pair; needles have pairs in their escaped form.
    return match[0] if code in _SURROGATES else chr(code).encode()


def _origin(shifts: list[tuple[int, int]], at: int) -> tuple[int, int]:
    """Return the range of bytes that the byte at `at` was made from."""
    nearest = bisect_right(shifts, at, key=lambda shift: shift[0]) - 1
    offset, origin = shifts[nearest]
    if nearest + 1 < len(shifts) and nearest % 2:  # odd entries begin an escape
        return origin, shifts[nearest + 1][1]
    return origin + at - offset, origin + at - offset + 1
