"""Replace registered secrets, and text with the shape of one, by placeholders.

There is one scrubber for the process and one for each session. Secrets are never forgotten: a
rotated one may still be in a log.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from agent_swarm_worker.guards.scrubbing.json_lines import (
    WORD,
    map_strings,
    scrub_json_line,
    scrub_json_lines,
    with_structure,
)
from agent_swarm_worker.guards.scrubbing.matcher import MAX_NAME_CHARS, PLACEHOLDER, Matcher
from agent_swarm_worker.guards.scrubbing.needles import needles_of
from agent_swarm_worker.guards.scrubbing.secret_names import secret_values_of
from agent_swarm_worker.guards.scrubbing.stream import StreamScrubber
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_UNFIT_FOR_NAMES: Final = re.compile(r"[^A-Za-z0-9_.:-]+")


class Scrubber:
    """Implements `contract.Redactor`.

    Args:
        parent: a scrubber whose secrets, present and future, this one replaces too.
        on_too_short: called once with the name of each secret that is too short to be masked;
            by default a warning is logged.
    """

    def __init__(
        self,
        parent: Scrubber | None = None,
        *,
        on_too_short: Callable[[str], None] | None = None,
    ) -> None:
        self._parent = parent
        self._names: dict[bytes, str] = {}
        self._words: dict[str, str] = {}
        """Secrets that may equal a word of a protocol, by name."""
        inherited = parent._on_too_short if parent else _warn
        self._on_too_short: Callable[[str], None] = on_too_short or inherited
        self._reported: set[str] = parent._reported if parent else set()
        self._compiled = Matcher({}) if parent is None else parent._matcher()
        self._compiled_needles = 0

    def add(self, name: str, value: str) -> None:
        """Register a secret from now on; `name` becomes its placeholder.

        Characters of the name that could break JSON or markup are replaced. A value registered
        under two names keeps the first.
        """
        needles = needles_of(value)
        if not needles and value.strip() and name not in self._reported:
            self._reported.add(name)
            self._on_too_short(name)
        label = _UNFIT_FOR_NAMES.sub("_", name)[:MAX_NAME_CHARS] or "secret"
        for needle in needles:
            self._names.setdefault(needle, label)
        if WORD.fullmatch(value.strip()):
            self._words[label] = value.strip()

    def add_env(self, env: Mapping[str, str]) -> None:
        """Register every secret of an environment (`secret_names.secret_values_of`)."""
        for name, value in secret_values_of(env):
            self.add(name, value)

    def data(self, value: bytes) -> bytes:
        """Scrub complete bytes."""
        return self._matcher().scrub(value)

    def text(self, value: str) -> str:
        """Scrub a complete string."""
        try:
            raw, errors = value.encode("utf-8", "surrogateescape"), "surrogateescape"
        except UnicodeEncodeError:
            raw, errors = value.encode("utf-8", "surrogatepass"), "surrogatepass"
        clean = self._matcher().scrub(raw)
        return value if clean is raw else clean.decode("utf-8", errors)

    def leaves(self, value: Any) -> Any:
        """Scrub every string in a JSON value, keys included; other types pass."""
        return map_strings(value, self.text)

    def json_line(self, line: bytes) -> tuple[bytes, Any]:
        """Scrub one JSON line; return it and its parsed value, or ``None`` if it is not JSON.

        Never raises, and what was valid JSON stays valid JSON.
        """
        return scrub_json_line(line, self._matcher())

    def json_lines(self, lines: Sequence[bytes]) -> list[tuple[bytes, Any]]:
        """Scrub several lines of a protocol as `json_line` does.

        The words of the protocol (keys, types) are unchanged in the values, not in the lines.
        """
        return scrub_json_lines(lines, self._matcher())

    def with_words(self, stored: Any) -> Any:
        """Put the words of the protocol back into the value of a line that `json_lines` scrubbed.

        Only while their secrets are registered.
        """
        native = map_strings(stored, lambda text: PLACEHOLDER.sub(self._word_of, text))
        return with_structure(stored, native)

    def _word_of(self, placeholder: re.Match[str]) -> str:
        inherited = self._parent._word_of(placeholder) if self._parent else placeholder[0]
        return self._words.get(placeholder[1], inherited)

    def stream(self) -> StreamScrubber:
        """Return a scrubber for a stream that arrives in chunks."""
        return StreamScrubber(self._matcher)

    def _matcher(self) -> Matcher:
        """Return the matcher for all known secrets; rebuilt if a secret was added."""
        known = self._count()
        if known != self._compiled_needles:
            self._compiled = Matcher(self._all_names()) if self._names else self._inherited()
            self._compiled_needles = known
        return self._compiled

    def _count(self) -> int:
        """Return how many needles are known. They are only added, so each new one changes it."""
        own = len(self._names)
        return own if self._parent is None else own + self._parent._count()

    def _all_names(self) -> dict[bytes, str]:
        inherited = self._parent._all_names() if self._parent else {}
        return {**self._names, **inherited}

    def _inherited(self) -> Matcher:
        return self._parent._matcher() if self._parent else self._compiled


def _warn(name: str) -> None:
    Log().warning(Event.SECRET_TOO_SHORT, name=name)
