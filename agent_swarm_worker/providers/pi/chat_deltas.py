"""Join the pieces of a chat answer, which services send in ways of their own.

Names, ids and arguments may come in pieces, again with every delta, or as a whole twice; two calls
may share an index; usage may be a running total.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.kit.native import count, items, mapping, number, text

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN, CLOSE = "<think>", "</think>"
_TAGS = {OPEN: CLOSE, "<thinking>": "</thinking>"}
_NOTHING = frozenset({"", "null", "None", "undefined", '""'})
"""Arguments of a call without any."""
_DECODER = json.JSONDecoder(strict=False)
_NAMELESS = "unnamed"
_COUNTS = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}


@dataclass(slots=True, eq=False)
class _Call:
    """One tool call of an answer."""

    index: int
    """Its place among the calls."""
    key: int | None
    """The index that the service gives it."""
    call_id: str
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    is_begun: bool = False
    """Its name was passed on."""

    @property
    def is_one(self) -> bool:
        """True if a name or arguments have arrived."""
        return bool(self.name or self.pieces)

    @property
    def is_complete(self) -> bool:
        is_over = bool(self.pieces) and self.pieces[-1].rstrip().endswith("}")
        return is_over and _object(self.arguments) is not None

    @property
    def arguments(self) -> str:
        """The arguments as JSON, or as they came if they are none."""
        joined = mended("".join(self.pieces).strip())
        if joined in _NOTHING:
            return "{}"
        if joined.startswith('"'):  # an object written as text
            inner = _value(joined)
            if isinstance(inner, str) and (inner in _NOTHING or _object(inner) is not None):
                return inner if _object(inner) is not None else "{}"
        if _is_strict(joined):
            return joined
        if self.pieces and _is_growing(self.pieces) and _is_strict(self.pieces[-1]):
            return self.pieces[-1]
        found = [value for value in _objects(joined.removeprefix("null")) if value]
        if found and all(value == found[0] for value in found):
            return json.dumps(found[0])
        return joined


class ToolCalls:
    """The tool calls of one answer; their arguments are passed on when all are known."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._ids: set[str] = set()

    @property
    def are_any(self) -> bool:
        """Whether there is a call."""
        return any(call.is_one for call in self._calls)

    @property
    def are_complete(self) -> bool:
        """Whether the arguments of all are."""
        return all(_object(call.arguments) is not None for call in self._calls)

    def feed(self, entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Add a delta; yield what is known for sure, or an empty one as a sign of life."""
        function = mapping(entry.get("function"))
        name, call_id = text(function.get("name")), text(entry.get("id"))
        given = function.get("arguments")
        piece = given if isinstance(given, str) else "" if given is None else json.dumps(given)
        call = self._call_of(_index(entry.get("index")), call_id, name, piece)
        if call is None:
            return
        if name and not call.is_begun:
            call.name = name if name.startswith(call.name) else call.name + name
        call.call_id = call.call_id or call_id
        if extra := entry.get("extra_content"):
            call.more["extra_content"] = extra
        if piece:
            call.pieces.append(piece)
        for earlier in self._calls[: call.index + bool(piece)]:
            if earlier.is_one and not earlier.is_begun:
                yield self._begin(earlier)
        if call.is_begun:
            yield _delta(call, "")

    def rest(self) -> Iterator[dict[str, Any]]:
        """Yield what was not passed on."""
        for call in filter(lambda call: call.is_one, self._calls):
            if not call.is_begun:
                yield self._begin(call)
            yield _delta(call, call.arguments)

    def _begin(self, call: _Call) -> dict[str, Any]:
        call.is_begun = True
        wanted = call_id = call.call_id or f"call_{call.index}"
        while call_id in self._ids:
            call_id = f"{wanted}_{len(self._ids)}"
        self._ids.add(call_id)
        delta = _delta(call, "", name=call.name or _NAMELESS)
        return {**delta, **call.more, "id": call_id, "type": "function"}

    def _call_of(self, key: int | None, call_id: str, name: str, piece: str) -> _Call | None:
        """Return the call that a delta belongs to, ``None`` for a repetition of a whole one."""
        call = self._known(key, call_id, name)
        if call is None:
            return self._new(key, call_id)
        is_other_id = bool(call_id and call.call_id and call_id != call.call_id)
        if not name and not is_other_id:
            return call
        if call.is_complete:
            if not is_other_id and name in {"", call.name} and _is_same(piece, call.arguments):
                return None
            if (name and (piece.strip() or is_other_id)) or piece.lstrip().startswith("{"):
                return self._new(key, call_id)
        elif name and is_other_id and not name.startswith(call.name) and not call.pieces:
            return self._new(key, call_id)
        return call

    def _known(self, key: int | None, call_id: str, name: str) -> _Call | None:
        latest = list(reversed(self._calls))
        same_id = next((call for call in latest if call_id and call.call_id == call_id), None)
        if key is not None:
            found = next((call for call in latest if call.key == key), None)
            return found or (None if same_id is None or same_id.is_complete else same_id)
        if call_id or not latest:
            return same_id
        return latest[0] if not name or not latest[0].is_complete else None

    def _new(self, key: int | None, call_id: str) -> _Call:
        self._calls.append(_Call(len(self._calls), key, call_id))
        return self._calls[-1]


def _delta(call: _Call, arguments: str, **more: str) -> dict[str, Any]:
    return {"index": call.index, "function": {**more, "arguments": arguments}}


def _index(value: Any) -> int | None:
    return int(value) if isinstance(value, str) and value.isdecimal() else count(value)


def _value(said: str) -> Any:
    try:
        return _DECODER.decode(said)
    except (ValueError, RecursionError):
        return None


def _object(said: str) -> dict[str, Any] | None:
    value = _value(said)
    return value if isinstance(value, dict) else None


def _is_strict(said: str) -> bool:
    try:
        return isinstance(json.loads(said), dict)
    except (ValueError, RecursionError):
        return False


def _is_same(piece: str, arguments: str) -> bool:
    return not piece.strip() or _object(piece) == _object(arguments)


def _is_growing(pieces: list[str]) -> bool:
    """Return whether every piece repeats the one before it."""
    return all(after.startswith(before) for before, after in pairwise(pieces))


def _objects(said: str) -> list[dict[str, Any]]:
    """Return the objects that are written one after another; none if there is anything else."""
    found: list[dict[str, Any]] = []
    while said := said.strip():
        try:
            value, end = _DECODER.raw_decode(said)
        except (ValueError, RecursionError):
            return []
        if not isinstance(value, dict):
            return []
        found.append(value)
        said = said[end:]
    return found


class ThinkTags:
    """Cuts a text so that the tags around a model's thinking are pieces of their own.

    The library looks for whole pieces. A tag counts at the beginning of the text, or as a piece of
    its own.
    """

    def __init__(self) -> None:
        self._held = ""
        self._is_start = True
        self._close = ""
        """The end of the thinking under way."""

    def feed(self, said: str) -> list[str]:
        """Return the pieces of a text; its end may be held back."""
        if said in _TAGS and not self._close and not self._held:
            self._close = _TAGS[said]
            return [OPEN]
        rest, self._held = self._held + said, ""
        pieces: list[str] = []
        while rest:
            rest = self._inside(rest, pieces) if self._close else self._outside(rest, pieces)
        return [piece for piece in pieces if piece]

    def rest(self) -> list[str]:
        """Return what was held back."""
        held, self._held = self._held, ""
        return [held] if held else []

    def _inside(self, rest: str, pieces: list[str]) -> str:
        before, tag, after = rest.partition(self._close)
        if not tag:
            sizes = range(min(len(rest), len(self._close) - 1), 0, -1)
            size = next((size for size in sizes if self._close.startswith(rest[-size:])), 0)
            before, self._held = rest[: len(rest) - size], rest[len(rest) - size :]
        pieces.append(before)
        if tag:
            pieces.append(CLOSE)
            self._close, self._is_start = "", True
        return after

    def _outside(self, rest: str, pieces: list[str]) -> str:
        if self._is_start:
            begun = rest.lstrip()
            for tag, close in _TAGS.items():
                if begun.startswith(tag):
                    pieces.append(OPEN)
                    self._close = close
                    return begun[len(tag) :]
            if any(tag.startswith(begun) for tag in _TAGS):
                self._held = rest
                return ""
            self._is_start = False
        pieces.append(rest)
        return ""


class SurrogatePairs:
    """Joins characters whose halves come in two deltas; half a character becomes U+FFFD."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}

    def feed(self, field: str, said: str) -> str:
        """Return a text of this field; half a character at its end is held back."""
        said = self._held.pop(field, "") + said
        if said and "\ud800" <= said[-1] <= "\udbff":
            self._held[field], said = said[-1], said[:-1]
        return said if said.isascii() else mended(said)

    def rest(self) -> str:
        """Return what is left of the content."""
        return "\ufffd" if self._held.pop("content", "") else ""


def mended(said: str) -> str:
    """Join halves of a character; one alone becomes U+FFFD."""
    said = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), said)
    return _HALF.sub("\ufffd", said)


_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_HALF = re.compile("[\ud800-\udfff]")


class Usage:
    """The usage of one answer; the library adds up what it is told."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def feed(self, reported: dict[str, Any]) -> dict[str, Any] | None:
        """Add a report, which is a running total; return what is new, ``None`` if nothing is."""
        reported = dict(reported)
        for name, other in _COUNTS.items():
            reported[name] = number(reported.get(name)) or reported.get(other)
        known = _largest(self._known, reported)
        if known == self._known:
            return None
        new = _difference(known, self._known)
        self._known = known
        asked, written = (count(new.get(name)) or 0 for name in _COUNTS)
        new |= {"prompt_tokens": asked, "completion_tokens": written}
        return {**new, "total_tokens": asked + written}


def _largest(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    found = dict(one)
    for name, value in other.items():
        if isinstance(value, dict):
            found[name] = _largest(mapping(one.get(name)), value)
        elif not name.endswith("_details") and (amount := number(value)) is not None:
            whole = int(amount) if amount.is_integer() and "cost" not in name else amount
            found[name] = max(whole, number(one.get(name)) or 0)
    return found


def _difference(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return counts less those of `other`; costs are the library's to replace, not to add."""
    return {
        name: _difference(value, mapping(other.get(name)))
        if isinstance(value, dict)
        else (value if "cost" in name else value - (other.get(name) or 0))
        for name, value in one.items()
    }


def content_of(value: Any) -> tuple[str, str]:
    """Return text and thinking of a content, which is a text or a list of parts."""
    if isinstance(value, str):
        return value, ""
    said, thought = "", ""
    for part in items(value):
        kind = text(mapping(part).get("type"))
        inner = (
            part
            if isinstance(part, str)
            else mapping(part).get("thinking" if kind == "thinking" else "text")
        )
        inner = inner if isinstance(inner, str) else content_of(inner)[0]
        if kind == "thinking":
            thought += inner
        else:
            said += inner
    return said, thought
