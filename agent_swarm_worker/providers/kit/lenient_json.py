r"""Read the JSON objects in a line that is not JSON.

Harnesses print into the pipe of their protocol, and so do wrappers and runtimes around them: a
byte order mark, terminal sequences, words in front of an object, two objects at once, ``NaN``, a
comma too many, a raw tab in a string, comments, the notation of JavaScript or Python. `parts_of`
finds the objects in such a line and mends them; nothing is guessed about an object that is cut off
or torn: `torn_event` tells what it may have been. `split_json.py` joins the lines of an object.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agent_swarm_worker.providers.kit.native import squashed, tells_failure
from agent_swarm_worker.text import TERMINAL_SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_TOKENS: Final = 100_000
"""Tokens, and whole objects, read of one line: about half a second."""
MAX_VALUES: Final = 1_000_000
"""Commas, colons and brackets of a line that is read: about half a second."""
TOKENS_PER_OBJECT: Final = 10
"""A whole object, and its translation, take the time of so many tokens."""
BYTES_PER_TOKEN: Final = 2_000
"""Bytes that the JSON parser passes in the time of one token."""
MAX_TORN_CHARS: Final = 64 * 1024
"""Of each end of a line that cannot be read: where its type is looked for."""
MAX_NOISE: Final = 100
"""Sequences and blanks around the first bracket of an object."""
MAX_QUOTED_CHARS: Final = 200
UNREADABLE: Final = "its result cannot be read"

_NOISE: Final = rf"(?:{TERMINAL_SEQUENCE}|[\x00-\x20\x7f-\xa0\ufeff\u200b])"
_SOME_NOISE: Final = f"{_NOISE}{{0,{MAX_NOISE}}}+"
_FIRST_KEY: Final = rf"""(?:["'}}]|/[/*]|[A-Za-z_$][\w$]{{0,60}}+{_SOME_NOISE}:)"""
_START: Final = re.compile(rf"(?:\[{_SOME_NOISE})?\{{{_SOME_NOISE}{_FIRST_KEY}")
_TOKEN: Final = re.compile(
    rf"""(?P<string>"(?:[^"\\]++|\\.)*+"|'(?:[^'\\]++|\\.)*+')"""
    rf"|(?P<open>[{{\[])|(?P<close>[}}\]])|(?P<mark>[,:])"
    rf"|(?P<value>[-+]?(?:[0-9][0-9.eE+-]*+|[A-Za-z_$][\w$]*+))"
    rf"|(?P<noise>{_NOISE}++|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)",
    re.DOTALL,
)
_WORDS: Final = {
    **{word: word for word in ("true", "false", "null")},
    **dict.fromkeys(("nan", "inf", "infinity", "undefined", "none"), "null"),
}
_TO_MEND: Final = re.compile(r"[\x00-\x1f]|\\")
_QUOTE: Final = re.compile(r'\\.|"', re.DOTALL)
_IN_STRING: Final = re.compile(r'\\(["\\/bfnrt]|u[0-9A-Fa-f]{4})|\\(.)|([\x00-\x1f])', re.DOTALL)
_INVISIBLE: Final = re.compile(rf"(?:{_NOISE}|,)*+")
_FLAG: Final = re.compile(r"is[^a-z\"]{0,6}error|success|status", re.IGNORECASE)


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


def torn_event(line: str, ends: tuple[str, ...] = ("result",)) -> str | None:
    """Return the type (or method) of an event that a line begins and that cannot be read.

    Any mention of one of `ends`, the types that end a session, outweighs the first type. Empty if
    the line shows none; ``None`` if it is text.
    """
    if len(line) > 2 * MAX_TORN_CHARS:
        line = f"{line[:MAX_TORN_CHARS]} {line[-MAX_TORN_CHARS:]}"
    line = line.replace("\0", "")
    start = _TORN_START.search(line)
    if start is None:
        return None
    kinds = [squashed(kind[1]) for kind in _KIND.finditer(line, start.start())]
    cut = _CUT_KIND.search(line[-MAX_QUOTED_CHARS:])
    begun = squashed(cut[1]) if cut else ""
    for end in ends:
        if squashed(end) in kinds or (begun and squashed(end).startswith(begun)):
            return end
    if not kinds and "result" in ends and _TOLD_FAILURE.search(line, start.start()):
        return "result"
    first = _FIRST_KIND.search(line, start.start())
    return first[1] if first else ""


_TORN_START: Final = re.compile(rf"\{{{_SOME_NOISE}{_FIRST_KEY}")
_KEY_OF_KIND: Final = r"""(?<![\\\w])["']?(?i:type|method)["']?\s*:\s*["']"""
_KIND: Final = re.compile(_KEY_OF_KIND + r"""([^"'\\]{1,60})["']""")
_FIRST_KIND: Final = re.compile(_KEY_OF_KIND + r"\s*([\w./]{1,60})")
_CUT_KIND: Final = re.compile(_KEY_OF_KIND + r"([\w./ ]{1,60})$")
_TOLD_FAILURE: Final = re.compile(r"""(?<![\\\w])["']?(?i:is_?error)["']?\s*:\s*["']?(?i:t|1|y)""")
_GLUED_RESULT: Final = re.compile(_KEY_OF_KIND + r"""\s*(?i:result)\s*["'].*[}\]]\s*$""", re.DOTALL)
_SERVER_SENT: Final = re.compile(r"\s*data:\s*[{\[]")


def is_server_sent(line: bytes) -> bool:
    """True for the data of a server-sent event (``data: {…}``)."""
    return _SERVER_SENT.match(_decoded(line[:200])) is not None


def ends_with_result(line: bytes) -> bool:
    """True if text may be followed, up to the end of the line, by an object that is a result."""
    return line.rstrip().endswith((b"}", b"]")) and _GLUED_RESULT.search(_decoded(line)) is not None


def parts_of(line: bytes) -> list[Part]:
    """Return the objects of a line and the text around them; empty if it has no whole object."""
    parts = list(_parts(_decoded(line)))
    return parts if any(part.is_json for part in parts) else []


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def _parts(line: str) -> Iterator[Part]:
    text_begin = position = tokens = 0
    if sum(map(line.count, ",:[{")) > MAX_VALUES:
        return
    constants: list[str] = []
    # Repeated keys stay where the text of an object does.
    parser = json.JSONDecoder(parse_constant=constants.append, strict=True)
    while tokens <= MAX_TOKENS and (start := _START.search(line, position)):
        found = _parsed(line, start.start(), parser, constants) or _object(
            line, start.start(), MAX_TOKENS - tokens
        )
        tokens += found.tokens
        if found.is_whole:
            yield from _text(line[text_begin : start.start()])
            yield Part("".join(found.pieces).encode("utf-8", "replace"), True)
            text_begin = position = found.end
        else:
            # Inside of a torn object nothing counts as an object of its own, but for one that
            # begins where it is torn: the writer was replaced in the middle of a line.
            tokens += found.end // BYTES_PER_TOKEN
            position = line.rfind("{", max(found.end - 2, start.end() - 1), found.torn_to + 1)
            if position < start.end() - 1 or position == start.start():
                break
    yield from _text(line[text_begin:])


def _parsed(line: str, begin: int, parser: json.JSONDecoder, constants: list[str]) -> _Read | None:
    """Read one object or array by the JSON parser, in a fraction of the time; ``None`` if not."""
    constants.clear()
    try:
        value, end = parser.raw_decode(line, begin)
    except (ValueError, RecursionError):
        return None
    if not constants:
        return _Read([line[begin:end]], end, True, TOKENS_PER_OBJECT)
    if _FLAG.search(line, begin, end):
        value = without_contradiction(line[begin:end], value)
    return _Read([json.dumps(value)], end, True, TOKENS_PER_OBJECT)


def without_contradiction(line: str | bytes, native: Any) -> Any:
    """Return the value of a line, in which of a repeated key the failure counts, not the last."""
    flags = _FLAG_BYTES.findall(line) if isinstance(line, bytes) else _FLAG.findall(line)
    if len(flags) < 2:
        return native
    try:
        return json.loads(line, object_pairs_hook=_worst, parse_constant=_nothing)
    except (ValueError, RecursionError):
        return native


_FLAG_BYTES: Final = re.compile(_FLAG.pattern.encode(), re.IGNORECASE)


def _nothing(_: str) -> None:
    """Read ``NaN`` as null."""


def _worst(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for key, value in pairs:
        if not (key in read and tells_failure(key, read[key])):
            read[key] = value
    return read


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
            if text[0] == "'":
                text = '"' + _QUOTE.sub(_double_quoted, text[1:-1]) + '"'
            text = _IN_STRING.sub(_mended, text) if _TO_MEND.search(text) else text
        elif kind == "value" and not text.lstrip("+-")[0].isdigit():
            # A key without quotes, a word of another language, or ``[Object]``.
            text = _WORDS.get(text.lstrip("+-").lower(), f'"{text}"')
        if kind != "noise":
            pieces.append(text)
            is_value_over = kind not in {"open", "mark"}
        end = token.end()
        if not closing:
            return _Read(pieces, end, True, tokens)
    return _Read(pieces, end, False, max_tokens, end)


def _double_quoted(found: re.Match[str]) -> str:
    return found[0] if found[0] != '"' else '\\"'


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
