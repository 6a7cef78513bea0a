"""The compiled form of a set of secrets: one automaton that finds them all, and the shapes.

A `Matcher` never changes. All needles, the anchors of the shapes and the placeholders themselves
are patterns. One Aho-Corasick automaton reads each byte once and reports every place where one of
their heads stands, overlapping ones too; what is longer than its head is compared there. Heads keep
the automaton small enough to be a dense one, which is five to ten times as fast as a sparse one,
and cheap enough to be built anew whenever a secret becomes known. Hits that overlap become one
span, so two secrets that share bytes leave nothing behind.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ahocorasick_rs import MATCHKIND_STANDARD, BytesAhoCorasick, Implementation

from agent_swarm_worker.guards.shapes import SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from agent_swarm_worker.guards.shapes import Shape

MAX_NAME_CHARS: Final = 64
MAX_PLACEHOLDER_BYTES: Final = MAX_NAME_CHARS + len("[REDACTED:]")

_HEAD_BYTES: Final = 8
"""How much of a pattern the automaton knows."""
_OPEN_HEAD_BYTES: Final = 5
"""How much of a needle must be there before `Matcher.open_from` looks closer; less than any."""


class _Hits(Protocol):
    def __call__(self, haystack: bytes, overlapping: bool) -> list[tuple[int, int, int]]: ...


class Span(NamedTuple):
    """Where a secret stands, and the name that replaces it."""

    start: int
    end: int
    name: str


def placeholder(name: str) -> bytes:
    """Return what stands in a secret's place."""
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
    """Put placeholders where merged spans stand."""
    parts: list[bytes] = []
    position = 0
    for span in spans:
        parts += (data[position : span.start], placeholder(span.name))
        position = span.end
    return b"".join((*parts, data[position:]))


def is_inside(span: Span, places: Sequence[tuple[int, int]]) -> bool:
    """True if one of `places`, which are sorted and lie apart, holds the whole span."""
    nearest = bisect_right(places, span.start, key=lambda place: place[0]) - 1
    return nearest >= 0 and span.end <= places[nearest][1]


class Matcher:
    """Finds a fixed set of needles, and whatever looks like a token.

    Args:
        names: what each needle belongs to.
    """

    def __init__(self, names: Mapping[bytes, str]) -> None:
        self._names = dict(names)
        labels = {*self._names.values(), *(shape.name for shape in SHAPES)}
        self._placeholders = frozenset(placeholder(label) for label in labels)
        shapes = {anchor: shape for shape in SHAPES for anchor in shape.anchors}
        patterns = sorted({*self._names, *self._placeholders, *shapes})
        # What a hit of each pattern means, by the number of the pattern.
        self._size_of = [len(pattern) for pattern in patterns]
        self._name_of = [self._names.get(pattern) for pattern in patterns]
        self._is_placeholder = [pattern in self._placeholders for pattern in patterns]
        self._shape_of = [shapes.get(pattern) for pattern in patterns]
        with_head: dict[bytes, list[tuple[int, bytes]]] = {}
        for number, pattern in enumerate(patterns):
            with_head.setdefault(pattern[:_HEAD_BYTES], []).append((number, pattern))
        self._with_head = list(with_head.values())
        """The patterns of each head, with their numbers."""
        self._hits = BytesAhoCorasick(
            list(with_head), MATCHKIND_STANDARD, Implementation.DFA
        ).find_matches_as_indexes

    def possible(self, data: bytes) -> list[int]:
        """Return offsets of which at least one lies in each place that `find` would return."""
        return [begin for _, begin, _ in self._hits(data, overlapping=True)]

    def find(self, data: bytes, start: int = 0) -> list[Span]:
        """Return where secrets start at or after `start`, sorted, overlaps not merged.

        What stands inside a placeholder of ours is left alone, so that scrubbing twice changes
        nothing, even if a secret reads ``REDACTED``.
        """
        hits = self._hits(data, overlapping=True)
        if not hits:
            return []
        spans: list[Span] = []
        kept: list[tuple[int, int]] = []
        anchors: dict[Shape, list[int]] = {}
        for index, found in self._places(hits, data):
            size = self._size_of[index]
            if (name := self._name_of[index]) is not None:
                spans += [Span(begin, begin + size, name) for begin in found if begin >= start]
            if (shape := self._shape_of[index]) is not None:
                anchors.setdefault(shape, []).extend(found)
            if self._is_placeholder[index]:
                kept += [(begin, begin + size) for begin in found]
        kept.sort()
        # Of what starts at one place a registered secret names the span, the longest one first.
        spans.sort(key=lambda span: (span.start, -span.end))
        if anchors:
            for shape in SHAPES:
                if places := anchors.get(shape):
                    places.sort()
                    spans += (Span(*span, shape.name) for span in shape.spans(data, places, start))
        if kept:
            spans = [span for span in spans if not is_inside(span, kept)]
        spans.sort(key=lambda span: span.start)
        return spans

    def _places(
        self, hits: list[tuple[int, int, int]], data: bytes
    ) -> Iterator[tuple[int, list[int]]]:
        """Yield the number of each pattern that stands in `data`, and where it begins."""
        # Anchors can be many; what a head means is looked up once, not at each hit of it.
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
        """Return where the longest tail of `data` starts that could yet grow into a needle.

        ``len(data)`` if there is none.
        """
        needles, heads, longest = self._beginnings
        size = len(data)
        first = max(0, size - longest + 1)
        window = data[first:]
        starts = [first + begin for _, begin, _ in heads(window, overlapping=True)]
        starts.extend(range(max(first, size - _OPEN_HEAD_BYTES + 1), size))
        for start in starts:
            tail = data[start:]
            # Whatever begins with the tail and is longer sorts right behind it.
            nearest = bisect_right(needles, tail)
            if nearest < len(needles) and needles[nearest].startswith(tail):
                return start
        return size

    @cached_property
    def _beginnings(self) -> tuple[list[bytes], _Hits, int]:
        needles = sorted({*self._names, *self._placeholders})
        heads = BytesAhoCorasick(sorted({needle[:_OPEN_HEAD_BYTES] for needle in needles}))
        return needles, heads.find_matches_as_indexes, max(map(len, needles))
