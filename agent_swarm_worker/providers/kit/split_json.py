"""Join the lines of an object that is printed over several; find events inside of other JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from agent_swarm_worker.providers.kit.lenient_json import Part, parts_of, without_contradiction
from agent_swarm_worker.providers.kit.native import squashed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_CHARS: Final = 4 * 1024 * 1024
"""Of an object that is joined."""
MAX_VALUES: Final = 200_000
"""Looked at in other JSON, a tenth of a second."""
MAX_DEPTH: Final = 3
"""Of an event in other JSON."""
_STRING: Final = re.compile(r""""(?:[^"\\]++|\\.)*+"|'(?:[^'\\]++|\\.)*+'""")
_ENVELOPES: Final = ("event", "params", "data", "payload", "body", "msg", "record", "result")


class SplitObject:
    """Takes the lines between the events of a program; they may be one indented object."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._chars = self._depth = 0

    def __bool__(self) -> bool:
        """True while an object is open."""
        return bool(self._lines)

    @property
    def text(self) -> str:
        """The lines of the open object."""
        return "\n".join(self._lines)

    def add(self, line: str) -> list[Any]:
        """Take a line that is not JSON; return the values that it completes."""
        if not self._lines and not line.lstrip().startswith(("{", "[")):
            return []
        rest = _STRING.sub("", line)
        self._depth += sum(map(rest.count, "{[")) - sum(map(rest.count, "}]"))
        self._chars += len(line)
        self._lines.append(line)
        if '"' in rest or self._chars > MAX_CHARS:
            self.clear()
        elif self._depth <= 0:
            whole = self.text.encode("utf-8", "replace")
            self.clear()
            return [value for part in parts_of(whole) if part.is_json for value in _values(part)]
        return []

    def add_value(self, native: Any) -> None:
        """Take a line that is JSON by itself."""
        self._lines.append(orjson.dumps(native).decode() + ",")
        self._chars += len(self._lines[-1])

    def clear(self) -> None:
        """Forget the open object."""
        self._lines.clear()
        self._chars = self._depth = 0


def _values(part: Part) -> list[Any]:
    try:
        return [without_contradiction(part.content, orjson.loads(part.content))]
    except orjson.JSONDecodeError:
        return []


def kind_of(native: dict[str, Any], kinds: Mapping[str, str]) -> str | None:
    """Return the type of an event, of those by their squashed names, in whatever spelling."""
    for key, value in native.items():
        if isinstance(value, str) and squashed(key) == "type":
            return kinds.get(squashed(value))
    return None


def events_in(native: Any, kinds: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the events of these kinds in a value, with the usual type.

    They may be in arrays, in JSON inside a string, and in the members of an envelope.
    """
    pending = [(native, 0)]
    for _ in range(MAX_VALUES):
        if not pending:
            return
        value, depth = pending.pop()
        if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                continue
        if isinstance(value, dict) and (kind := kind_of(value, kinds)):
            yield {**value, "type": kind}
        elif depth < MAX_DEPTH and isinstance(value, list):
            pending += [(item, depth + 1) for item in reversed(value)]
        elif depth < MAX_DEPTH and isinstance(value, dict):
            keys = value if len(value) == 1 else _ENVELOPES
            pending += [(value[key], depth + 1) for key in keys if key in value]
