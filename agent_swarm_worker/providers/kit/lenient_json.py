r"""Read the JSON objects in a line that is not JSON.

Harnesses print into the pipe of their protocol, and so do wrappers and runtimes around them: a
byte order mark, terminal sequences, words in front of an object, two objects at once, ``NaN``, a
comma too many, a raw tab in a string. `parts_of` finds the objects in such a line and mends them;
nothing is guessed about an object that is cut off or torn.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from agent_swarm_worker.text import TERMINAL_SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_TOKENS: Final = 200_000
"""Tokens read of one line, about half a second."""
MAX_STARTS: Final = 100
"""Places of one line at which an object is tried."""
MAX_NOISE: Final = 100
"""Sequences and blanks around the first bracket of an object."""
MAX_QUOTED_CHARS: Final = 200
UNREADABLE: Final = "its result cannot be read"

_NOISE: Final = rf"(?:{TERMINAL_SEQUENCE}|[\x00-\x20\x7f-\xa0\ufeff\u200b])"
_SOME_NOISE: Final = f"{_NOISE}{{0,{MAX_NOISE}}}+"
_START: Final = re.compile(rf'(?:\[{_SOME_NOISE})?\{{{_SOME_NOISE}["}}]')
_TOKEN: Final = re.compile(
    rf"""(?P<string>"(?:[^"\\]++|\\.)*+")|(?P<open>[{{\[])|(?P<close>[}}\]])|(?P<mark>[,:])"""
    rf"|(?P<value>[-+]?(?:[0-9][0-9.eE+-]*+|[A-Za-z]++))|(?P<noise>{_NOISE}++)",
    re.DOTALL,
)
_WORDS: Final = {
    **{word: word for word in ("true", "false", "null")},
    **dict.fromkeys(("nan", "inf", "infinity", "undefined", "none"), "null"),
}
_TO_MEND: Final = re.compile(r"[\x00-\x1f]|\\")
_IN_STRING: Final = re.compile(r'\\(["\\/bfnrt]|u[0-9A-Fa-f]{4})|\\(.)|([\x00-\x1f])', re.DOTALL)
_INVISIBLE: Final = re.compile(rf"(?:{_NOISE}|,)*+")


class Part(NamedTuple):
    """A part of a line: a JSON object (or an array of objects), or text."""

    content: bytes
    is_json: bool


def starts_with_object(line: bytes) -> bool:
    """True if nothing visible is in front of the first object of a line."""
    return line[:1] in _FIRST_BYTES and _AT_START.match(_decoded(line[:4096])) is not None


_AT_START: Final = re.compile(rf"{_SOME_NOISE}{_START.pattern}")
_FIRST_BYTES: Final = frozenset(
    [b"{", b"[", b"\xef", b"\xc2", b"\xe2", *(bytes([code]) for code in (*range(0x21), 0x7F))]
)


def torn_event(line: str) -> str | None:
    """Return the type (or method) of an event that a line begins and that cannot be read.

    Empty if it shows none; ``None`` if the line is text.
    """
    start = _TORN_START.search(line)
    if start is None:
        return None
    kind = _KIND.search(line, start.start())
    return kind[2] if kind else ""


_TORN_START: Final = re.compile(rf"\{{{_SOME_NOISE}[\"']")
_KIND: Final = re.compile(r"""(?<!\\)(["'])(?:type|method)\1\s*:\s*["']([\w./]{1,60})""")


def parts_of(line: bytes) -> list[Part]:
    """Return the objects of a line and the text around them; empty if it has no whole object."""
    parts = list(_parts(_decoded(line)))
    return parts if any(part.is_json for part in parts) else []


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def _parts(line: str) -> Iterator[Part]:
    text_begin = position = tokens = 0
    for _ in range(MAX_STARTS):
        start = _START.search(line, position)
        if start is None or tokens > MAX_TOKENS:
            break
        found = _object(line, start.start(), MAX_TOKENS - tokens)
        tokens += found.tokens
        if found.is_whole:
            yield from _text(line[text_begin : start.start()])
            yield Part("".join(found.pieces).encode("utf-8", "replace"), True)
            text_begin = position = found.end
        else:
            # Inside of a torn object nothing counts as an object of its own, but for one that
            # begins where it is torn: the writer was replaced in the middle of a line.
            position = line.rfind("{", found.end - 2, found.torn_to + 1)
            if position < start.end():
                break
    yield from _text(line[text_begin:])


def _text(text: str) -> Iterator[Part]:
    if not _INVISIBLE.fullmatch(text):
        yield Part(text.encode("utf-8", "replace"), False)


class _Read(NamedTuple):
    pieces: list[str]
    """Its tokens, mended."""
    end: int
    """Where it ends, or the first token begins that does not belong to it."""
    is_whole: bool
    tokens: int
    torn_to: int = 0
    """The end of that token."""


def _object(line: str, begin: int, max_tokens: int) -> _Read:
    """Read one object or array; `_parts` leaves the check of its grammar to the JSON parser."""
    pieces: list[str] = []
    closing: list[str] = []
    end, is_value_over = begin, False
    for tokens in range(1, max_tokens + 1):
        token = _TOKEN.match(line, end)
        if token is None:
            return _Read(pieces, end, False, tokens, end)
        torn = _Read(pieces, end, False, tokens, token.end())
        kind, text = token.lastgroup, token[0]
        if kind in {"open", "string", "value"} and is_value_over:
            return torn
        if kind == "open":
            closing.append("}" if text == "{" else "]")
        elif kind == "close":
            if closing.pop() != text:
                return torn
            if pieces[-1] == ",":
                pieces.pop()
        elif text == "," and pieces[-1] == ",":
            kind = "noise"
        elif kind == "string":
            text = _IN_STRING.sub(_mended, text) if _TO_MEND.search(text) else text
        elif kind == "value" and not text[-1].isdigit():
            word = _WORDS.get(text.lstrip("+-").lower())
            if word is None:
                return torn
            text = word
        if kind != "noise":
            pieces.append(text)
            is_value_over = kind not in {"open", "mark"}
        end = token.end()
        if not closing:
            return _Read(pieces, end, True, tokens)
    return _Read(pieces, end, False, max_tokens, end)


def _mended(escape: re.Match[str]) -> str:
    """Escape a raw control character; make an escape that JSON does not have its characters."""
    _, unknown, control = escape.groups()
    if control:
        return f"\\u{ord(control):04x}"
    if unknown == "'":
        return "'"
    if unknown is not None:
        return "\\\\" + (f"\\u{ord(unknown):04x}" if unknown < " " else unknown)
    return escape[0]
