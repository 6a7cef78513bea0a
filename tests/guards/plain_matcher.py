"""The matcher in its plainest form: the model that the real one must agree with.

Every shape is searched for in all of the text if one of its anchors is anywhere in it, and every
level of escapes is taken out with a note of what came from where.
"""

from __future__ import annotations

from agent_swarm_worker.guards.scrubbing import json_lines
from agent_swarm_worker.guards.scrubbing.matcher import (
    SHAPES,
    Matcher,
    Span,
    is_inside,
    placeholder,
)


def find(names: dict[bytes, str], data: bytes, start: int = 0) -> list[Span]:
    """Return what `Matcher(names).find(data, start)` should."""
    spans = [
        Span(begin, begin + len(needle), name)
        for needle, name in names.items()
        for begin in everywhere(needle, data)
        if begin >= start
    ]
    spans.sort(key=lambda span: (span.start, -span.end))
    for shape in SHAPES:
        if any(anchor in data for anchor in shape.anchors):
            for match in shape.pattern.finditer(data, start):
                group = match.lastindex or 0
                end = max(match.end(group), match.end())
                spans.append(Span(match.start(group), end, shape.name))
    labels = {*names.values(), *(shape.name for shape in SHAPES)}
    kept = sorted(
        (begin, begin + len(mark))
        for mark in map(placeholder, labels)
        for begin in everywhere(mark, data)
    )
    spans = [span for span in spans if not is_inside(span, kept)]
    spans.sort(key=lambda span: span.start)
    return spans


def everywhere(needle: bytes, data: bytes) -> list[int]:
    return [at for at in range(len(data)) if data.startswith(needle, at)]


def find_behind_escapes(data: bytes, matcher: Matcher) -> list[Span]:
    """Return what `json_lines.find_behind_escapes` should."""
    spans = matcher.find(data)
    if not json_lines.has_unusual_escapes(data):
        return spans
    places: list[list[tuple[int, int]]] = []
    for _ in range(json_lines.MAX_LEVELS):
        data, shifts = json_lines._unescaped(data)
        places.append(shifts)
        for start, end, name in matcher.find(data):
            for level in reversed(places):
                start = json_lines._origin(level, start)[0]  # noqa: PLW2901
                end = json_lines._origin(level, end - 1)[1]  # noqa: PLW2901
            spans.append(Span(start, end, name))
        if not json_lines.has_unusual_escapes(data):
            break
    spans.sort(key=lambda span: (span.start, -span.end))
    return spans
