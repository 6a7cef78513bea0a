"""Find secrets in bytes: one automaton for all needles, and for the shapes of tokens.

A `Matcher` is immutable. Its patterns are all needles, the anchors of the shapes and the
placeholders. One Aho-Corasick automaton reads each byte once and reports every place of a pattern's
head, its first eight bytes, overlapping ones too; a longer pattern is compared there. Heads keep
the automaton small enough for the dense implementation, which is five to ten times as fast as the
sparse one, and quick to rebuild when a secret is registered. Overlapping matches become one span,
so of two secrets that share bytes nothing remains.

A shape is a kind of token with a known prefix, whoever issued it. It has *anchors*: short byte
strings of which one is at the start of a match (that of a JWT is behind its first part). The
automaton finds them too, and the regular expression is tried only there. The expressions are
linear: every repetition is possessive or bounded, so a line of many prefixes costs no more than
any other. A left boundary is required only where a prefix is also the end of a word (``task-``,
``ASIA``).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from ahocorasick_rs import MATCHKIND_STANDARD, BytesAhoCorasick, Implementation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MAX_NAME_CHARS: Final = 64
MAX_PLACEHOLDER_BYTES: Final = MAX_NAME_CHARS + len("[REDACTED:]")
PLACEHOLDER: Final = re.compile(r"\[REDACTED:([^\]]+)\]")

_HEAD_BYTES: Final = 8
"""How many bytes of a pattern the automaton has."""
_ENCODED: Final = re.compile(rb"(?!(?:[0-9a-f]+|[0-9A-F]+)\Z)[A-Za-z0-9+/_=-]{16,}")
"""Needles that are also found where line ends divide them, as ``base64`` does at column 76."""
_LINE_END: Final = re.compile(rb"(?:\r?\n|(?:\\{1,8}r)?\\{1,8}n)(?:[ \t]|\\{1,8}t){0,40}+")
"""Also as JSON writes it, and the indentation behind it."""
_ENCODED_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_=-"
_MAX_LINE_END_BYTES: Final = 60
_MAX_OPEN_BYTES: Final = 16 * 1024
_OPEN_HEAD_BYTES: Final = 5
"""How many bytes of a needle `Matcher.open_from` searches for; less than any needle has."""


class _Hits(Protocol):
    def __call__(self, haystack: bytes, overlapping: bool) -> list[tuple[int, int, int]]: ...


class Span(NamedTuple):
    """The place of a secret, and the name for its placeholder."""

    start: int
    end: int
    name: str


def placeholder(name: str) -> bytes:
    """Return the placeholder of a secret."""
    return b"[REDACTED:%b]" % name.encode()


def merge(spans: Iterable[Span]) -> list[Span]:
    """Join sorted spans that overlap; the first one gives the name."""
    merged: list[Span] = []
    for span in spans:
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            merged[-1] = Span(last.start, max(last.end, span.end), last.name)
        else:
            merged.append(span)
    return merged


def replace(data: bytes, spans: Iterable[Span]) -> bytes:
    """Replace merged spans by placeholders."""
    parts: list[bytes] = []
    position = 0
    for span in spans:
        parts += (data[position : span.start], placeholder(span.name))
        position = span.end
    return b"".join((*parts, data[position:]))


def is_inside(span: Span, ranges: Sequence[tuple[int, int]]) -> bool:
    """True if one of `ranges`, which are sorted and disjoint, contains the whole span."""
    nearest = bisect_right(ranges, span.start, key=lambda each: each[0]) - 1
    return nearest >= 0 and span.end <= ranges[nearest][1]


class Matcher:
    """Finds needles, each with the name for its placeholder, and text with the shape of a token."""

    def __init__(self, names: Mapping[bytes, str]) -> None:
        self._names = dict(names)
        labels = {*self._names.values(), *(shape.name for shape in SHAPES)}
        self._placeholders = frozenset(placeholder(label) for label in labels)
        shapes = {anchor: shape for shape in SHAPES for anchor in shape.anchors}
        wrapped: dict[bytes, list[tuple[bytes, int]]] = {}
        for needle in filter(_ENCODED.fullmatch, self._names):
            for offset in (0, _HEAD_BYTES):  # one line end cannot divide both
                anchor = needle[offset : offset + _HEAD_BYTES]
                wrapped.setdefault(anchor, []).append((needle, offset))
        patterns = sorted({*self._names, *self._placeholders, *shapes, *wrapped})
        # The meaning of each pattern, by its number.
        self._size_of = [len(pattern) for pattern in patterns]
        self._name_of = [self._names.get(pattern) for pattern in patterns]
        self._is_placeholder = [pattern in self._placeholders for pattern in patterns]
        self._shape_of = [shapes.get(pattern) for pattern in patterns]
        self._wrapped_of = [wrapped.get(pattern) for pattern in patterns]
        with_head: dict[bytes, list[tuple[int, bytes]]] = {}
        for number, pattern in enumerate(patterns):
            with_head.setdefault(pattern[:_HEAD_BYTES], []).append((number, pattern))
        self._with_head = list(with_head.values())
        """The patterns of each head, with their numbers."""
        self._hits = BytesAhoCorasick(
            list(with_head), MATCHKIND_STANDARD, Implementation.DFA
        ).find_matches_as_indexes

    def find(self, data: bytes, start: int = 0) -> list[Span]:
        """Return the secrets that start at or after `start`; sorted, overlaps not merged.

        A match inside a placeholder is ignored, so that scrubbing twice changes nothing, even if a
        secret reads ``REDACTED``.
        """
        hits = self._hits(data, overlapping=True)
        if not hits:
            return []
        spans: list[Span] = []
        placeholders: list[tuple[int, int]] = []
        anchors: dict[Shape, list[int]] = {}
        for index, found in self._occurrences(hits, data):
            size = self._size_of[index]
            if (name := self._name_of[index]) is not None:
                spans += [Span(begin, begin + size, name) for begin in found if begin >= start]
            if (shape := self._shape_of[index]) is not None:
                anchors.setdefault(shape, []).extend(found)
            if (wrapped := self._wrapped_of[index]) is not None:
                spans += self._in_lines(data, found, wrapped, start)
            if self._is_placeholder[index]:
                placeholders += [(begin, begin + size) for begin in found]
        placeholders.sort()
        # Of spans that start at one place a registered secret comes first, the longest before
        # others.
        spans.sort(key=lambda span: (span.start, -span.end))
        if anchors:
            for shape in SHAPES:
                if begins := anchors.get(shape):
                    begins.sort()
                    spans += (Span(*span, shape.name) for span in shape.spans(data, begins, start))
        if placeholders:
            spans = [span for span in spans if not is_inside(span, placeholders)]
        spans.sort(key=lambda span: span.start)
        return spans

    def _in_lines(
        self, data: bytes, anchors: list[int], wrapped: list[tuple[bytes, int]], start: int
    ) -> Iterator[Span]:
        """Yield the needles that line ends divide, by the places of an unbroken part of each."""
        if b"\n" not in data and b"\\n" not in data:
            return
        for anchor in anchors:
            for needle, offset in wrapped:
                if data.startswith(needle, anchor - offset):
                    continue
                end = _end_in_lines(data, anchor, needle[offset:])
                begin = _begin_in_lines(data, anchor, needle[:offset]) if end else None
                if end and begin is not None and end > start:
                    # The few bytes before a line end may be written already.
                    yield Span(max(begin, start), end, self._names[needle])

    def _occurrences(
        self, hits: list[tuple[int, int, int]], data: bytes
    ) -> Iterator[tuple[int, list[int]]]:
        """Yield the number of each pattern found in `data`, and where it begins."""
        # Anchors can be many, so the patterns of a head are looked up once, not for each hit.
        heads: defaultdict[int, list[int]] = defaultdict(list)
        for head, begin, _ in hits:
            heads[head].append(begin)
        for head, begins in heads.items():
            for number, pattern in self._with_head[head]:
                if len(pattern) <= _HEAD_BYTES:
                    yield number, begins
                elif found := [begin for begin in begins if data.startswith(pattern, begin)]:
                    yield number, found

    def scrub(self, data: bytes) -> bytes:
        """Return `data` with a placeholder for every secret; the same object if it has none."""
        spans = self.find(data)
        return replace(data, merge(spans)) if spans else data

    def open_from(self, data: bytes) -> int:
        """Return the start of the longest tail of `data` that may become a needle, else its end."""
        needles, heads, longest = self._beginnings
        size = len(data)
        first = max(0, size - longest + 1)
        window = data[first:]
        starts = [first + begin for _, begin, _ in heads(window, overlapping=True)]
        starts.extend(range(max(first, size - _OPEN_HEAD_BYTES + 1), size))
        found = next((start for start in starts if _begins_any(needles, data[start:])), size)
        return min(found, self._open_in_lines(data))

    def _open_in_lines(self, data: bytes) -> int:
        """Return where a needle begins that line ends divide and more lines could complete.

        It is open only if there is so much of it that it is no chance.
        """
        first = _encoded_lines_from(data)
        if first is None:
            return len(data)
        needles, heads, _ = self._beginnings
        parts = _LINE_END.split(data[first:].rstrip(b"\r"))
        text = b"".join(parts)
        for _, at, _ in heads(text, overlapping=True):
            is_divided = at < len(text) - max(len(parts[-1]), _HEAD_BYTES - 1)
            if is_divided and _begins_any(needles, text[at:]):
                return first + at
        return len(data)

    @cached_property
    def _beginnings(self) -> tuple[list[bytes], _Hits, int]:
        needles = sorted({*self._names, *self._placeholders})
        heads = BytesAhoCorasick(sorted({needle[:_OPEN_HEAD_BYTES] for needle in needles}))
        return needles, heads.find_matches_as_indexes, max(map(len, needles))


def _begins_any(needles: Sequence[bytes], tail: bytes) -> bool:
    """True if one of the sorted needles begins with the tail and is longer."""
    nearest = bisect_right(needles, tail)  # it sorts right behind the tail
    return nearest < len(needles) and needles[nearest].startswith(tail)


def _encoded_lines_from(data: bytes) -> int | None:
    """Return where the encoded text at the end of `data` begins; ``None`` if it is one line."""
    position, first = len(data), None
    floor = max(0, position - _MAX_OPEN_BYTES)
    while position > floor:
        begin = data.rfind(b"\n", floor, position) + 1
        line = data[begin:position].rstrip(b"\r")
        before = line.rstrip(_ENCODED_BYTES)
        if first is not None and before == line:
            return first
        first = begin + len(before)
        if before.strip(b" \t") or begin <= floor:
            return first if position < len(data) else None
        position = begin - 1
    return first


def _end_in_lines(data: bytes, position: int, rest: bytes) -> int | None:
    """Return where `rest` ends that begins at `position` and that line ends may divide."""
    while True:
        line_end = _LINE_END.search(data, position, position + len(rest) + _MAX_LINE_END_BYTES)
        size = line_end.start() - position if line_end else len(rest)
        if line_end is None or size >= len(rest):
            return position + len(rest) if data.startswith(rest, position) else None
        if not size or data[position : position + size] != rest[:size]:
            return None
        position, rest = line_end.end(), rest[size:]


def _begin_in_lines(data: bytes, position: int, before: bytes) -> int | None:
    """Return where `before` begins that ends at `position` and that one line end may divide."""
    if data.endswith(before, 0, position):
        return position - len(before)
    first = max(0, position - len(before) - _MAX_LINE_END_BYTES)
    for line_end in _LINE_END.finditer(data, first, position):
        size = min(position - line_end.end(), len(before))
        if data.startswith(before[len(before) - size :], line_end.end()) and data.endswith(
            before[: len(before) - size], 0, line_end.start()
        ):
            return line_end.start() - len(before) + size
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One kind of token."""

    name: str
    """The name for its placeholder."""
    anchors: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    """Its group, if it has one, is the secret; it can be in a look-ahead."""
    lead: bytes = b""
    """Bytes that can precede an anchor: a match starts where the run of them starts."""
    tail: re.Pattern[bytes] | None = None
    """With `lead`: must match at the anchor; tried first."""
    needed: bytes = b""
    """Must be somewhere in the data, too."""

    def spans(self, data: bytes, anchors: Iterable[int], start: int) -> Iterator[tuple[int, int]]:
        """Yield the matches of this shape in `data` from `start` on; `anchors` are ascending."""
        if self.needed not in data:
            return
        match_at = self.pattern.match
        for begin in anchors if self.tail is None else self._begins(data, anchors, self.tail):
            if begin >= start and (match := match_at(data, begin)):
                group = match.lastindex or 0
                start = match.end()
                yield match.start(group), max(match.end(group), start)

    def _begins(
        self, data: bytes, anchors: Iterable[int], tail: re.Pattern[bytes]
    ) -> Iterator[int]:
        for anchor in anchors:
            if tail.match(data, anchor):
                # No run has the first byte of an anchor in it, so runs do not overlap.
                run = data[data.rfind(self.anchors[0][:1], 0, anchor) + 1 : anchor]
                yield anchor - len(run) + len(run.rstrip(self.lead))


def _left(width: int) -> str:
    r"""No letter or digit before the `width` bytes just matched, unless it ends an escape.

    Escapes are ``\n`` and the like, ``%20``, ``\u003d`` and terminal colours. The check is behind
    the literal, so that the engine can search for the literal first.
    """
    before = f".{{{width}}}"
    return (
        rf"(?:(?<![A-Za-z0-9]{before})|(?<=\\[nrtbfu0]{before})|(?<=%[0-9A-Fa-f]{{2}}{before})"
        rf"|(?<=\\u[0-9A-Fa-f]{{4}}{before})|(?<=[\[;0-9][0-9]m{before}))"
    )


def _glued(width: int) -> str:
    """Like `_left`, or no boundary if capitals and digits follow, as in no word."""
    run = "[A-Za-z0-9_-]{0,60}?"
    return rf"(?:{_left(width)}|(?={run}[0-9])(?={run}[A-Z]))"


def _shape(name: str, anchors: str, pattern: str, **more: Any) -> Shape:
    compiled = re.compile(pattern.encode(), re.DOTALL)
    return Shape(name, tuple(map(str.encode, anchors.split())), compiled, **more)


_WORD = "[A-Za-z0-9_-]"
_WORD_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_SPACE = r"(?:\\{1,8}[nr]|\s)"
_BASE64 = r"(?:[A-Za-z0-9+/=]|\\{1,4}/)"
_PEM = (
    r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
    rf"(?:{_SPACE}*+(?:Proc-Type|DEK-Info|Version|Comment): [A-Za-z0-9 ,.:-]{{0,100}}){{0,4}}+"
    rf"(?:{_SPACE}++{_BASE64}{{16,}}+)++(?:{_SPACE}++{_BASE64}++)?+"
    rf"(?:{_SPACE}*+-----END [A-Z0-9 ]{{0,60}}-----)?+"
)
_JWT_TAIL = rf"\.eyJ{_WORD}{{10,}}+\.{_WORD}{{10,}}+"
_JWT = rf"(?<!{_WORD})(?={_WORD}*?(eyJ{_WORD}{{10}})){_WORD}{{13,}}+{_JWT_TAIL}"
_CREDENTIAL = "[A-Za-z0-9._~+/=-]"
_AUTHORIZATION = (
    r"(?:uthorization|UTHORIZATION)[\"'\\\s:=]{1,16}"
    rf"(?i:bearer|basic|token)(?:[ \t]{{1,4}}|%20)(?=({_CREDENTIAL}{{6,}}+))"
)
_BEARER = (
    # Without the header before it this is prose, unless it has digits.
    r"(?:earer|EARER)(?:[ \t]{1,4}|%20)"
    rf"(?=({_CREDENTIAL}{{16,}}+))(?={_CREDENTIAL}{{0,64}}?[0-9])"
)
_AUTHORITY = r"[^\s/\"'<>\\?#]"
_URL_PASSWORD = (
    # A password does not start like a template or a placeholder ($, {, *, [).
    r":(?:\\?/){2}[^\s/:@\"'<>\\?#]{0,256}:"
    rf"((?![\[${{*@]){_AUTHORITY}{{1,256}})(?=@)"
)

SHAPES: Final = (
    _shape("github_pat", "github_pat_", "github_pat_[A-Za-z0-9_]{20,}+"),
    _shape("github_token", "ghp_ gho_ ghu_ ghs_ ghr_", "gh[pousr]_[A-Za-z0-9]{20,}+"),
    _shape("gitlab_pat", "glpat-", rf"glpat-{_WORD}{{20,}}+"),
    _shape("anthropic_key", "sk-ant-", rf"sk-ant-{_glued(7)}{_WORD}{{20,}}+"),
    _shape("openai_proj_key", "sk-proj-", rf"sk-proj-{_glued(8)}{_WORD}{{20,}}+"),
    _shape("openai_service_key", "sk-svcacct-", rf"sk-svcacct-{_glued(11)}{_WORD}{{20,}}+"),
    _shape("openai_admin_key", "sk-admin-", rf"sk-admin-{_glued(9)}{_WORD}{{20,}}+"),
    _shape("openrouter_key", "sk-or-", rf"sk-or-{_glued(6)}(?:v1-)?{_WORD}{{20,}}+"),
    _shape(
        "sk_key",
        "sk-",
        # With underscores and without digits it is more likely an identifier.
        rf"sk-(?=[A-Za-z0-9_]{{20}}){_left(3)}"
        rf"(?:[A-Za-z0-9]{{20}}|(?=[A-Za-z0-9_]{{0,64}}?[0-9])[A-Za-z0-9_]{{20}}){_WORD}*+",
    ),
    _shape(
        "slack_token",
        "xoxb- xoxa- xoxp- xoxr- xoxs- xoxe- xoxo-",
        r"xox[baprseo]-[A-Za-z0-9-]{10,}+",
    ),
    _shape("slack_app_token", "xapp-", "xapp-[A-Za-z0-9-]{10,}+"),
    _shape("aws_access_key", "AKIA ASIA", rf"A[KS]IA{_glued(4)}[0-9A-Z]{{16}}(?![A-Za-z0-9])"),
    _shape("google_api_key", "AIza", rf"AIza{_left(4)}{_WORD}{{35,}}+"),
    _shape("jwt", ".eyJ", _JWT, lead=_WORD_BYTES, tail=re.compile(_JWT_TAIL.encode())),
    _shape(
        "signoz_ingestion_key",
        "signoz-ingestion-key=",
        "signoz-ingestion-key=[A-Za-z0-9._~+/-]{20,}+={0,2}",
    ),
    _shape("linear_oauth", "lin_oauth_", "lin_oauth_[A-Za-z0-9]{10,}+"),
    _shape("linear_api", "lin_api_", "lin_api_[A-Za-z0-9]{10,}+"),
    _shape("npm_token", "npm_", "npm_[A-Za-z0-9]{20,}+"),
    _shape(
        "atlassian_token",
        "ATATT",
        # Without a digit it may be part of a genome.
        rf"ATATT{_left(5)}(?=[A-Za-z0-9_=-]{{0,64}}?[0-9])[A-Za-z0-9_=-]{{20,}}+",
    ),
    _shape("mcp_token", "aswt_", "aswt_[A-Za-z0-9]{20,}+"),
    _shape(
        "stripe_key",
        "sk_live_ sk_test_ rk_live_ rk_test_",
        rf"[rs]k_(?:live|test)_{_left(8)}[A-Za-z0-9]{{16,}}+",
    ),
    _shape("stripe_webhook_secret", "whsec_", "whsec_[A-Za-z0-9+/=]{24,}+"),
    _shape("hugging_face_token", "hf_", "hf_[A-Za-z0-9]{30,}+"),
    _shape("private_key", "-----BEGIN", _PEM),
    _shape("authorization", "uthorization UTHORIZATION", _AUTHORIZATION),
    _shape("bearer_token", "earer EARER", _BEARER),
    _shape("url_password", r":// :\/\/ :\// :/\/", _URL_PASSWORD, needed=b"@"),
)
