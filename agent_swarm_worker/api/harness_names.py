"""Finds out which harness names the server accepts, and which to send for a harness.

Servers differ in the names they know (docs/api.md 17.1), and refuse others. What a server lists in
its OpenAPI document counts; without one, a name is tried at the registration.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from agent_swarm_worker.api.wire.harness_names import COST_NAMES, SESSION_NAMES
from agent_swarm_worker.errors import ApiError

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock

REASK_S = 600.0
"""How long an answer holds that a name is not known: servers get upgraded."""
MAX_DEPTH = 8
Fetch: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class SentNames:
    """What is sent for one harness."""

    session: str
    """At the registration, with a task's session, and with the model in use."""
    cost: str
    """With a cost row."""
    nearest: str
    """The best name that every server accepts."""


class HarnessNames:
    """The harness names of the server that this process talks to.

    The methods take the names of one harness: its own, then others, the nearest first; the last is
    one that every server accepts.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: frozenset[str] | None = None
        self._costs: frozenset[str] | None = None
        self._tried: dict[str, bool] = {}
        self._ask_at_s = float("-inf")

    async def learn(self, names: Sequence[str], fetch: Fetch) -> None:
        """Ask the server for its names, unless it is known to accept the first of these.

        `fetch` returns its OpenAPI document, ``None`` if it has none.
        """
        now_s = self._clock.monotonic()
        if self.accepts(names[0]) or now_s < self._ask_at_s:
            return
        self._ask_at_s = now_s + REASK_S
        self._tried.clear()
        try:
            document = await fetch()
        except ApiError:
            return
        self._sessions = _listed(document, "/api/agents", "harness_provider")
        self._costs = _listed(document, "/api/session-costs", "provider")

    @property
    def is_listed(self) -> bool:
        """True if the server lists the names that it accepts."""
        return self._sessions is not None

    def accepts(self, name: str) -> bool:
        """True if the server is known to accept this name for an agent and a session."""
        if name in SESSION_NAMES:
            return True
        return self._tried.get(name, name in (self._sessions or ()))

    def to_try(self, names: Sequence[str]) -> Iterator[str]:
        """Yield what to register as, the best first, until one is accepted (`note`)."""
        for name in names:
            is_open = self._sessions is None and name not in self._tried
            if self.accepts(name) or is_open:
                yield name

    def note(self, name: str, *, accepted: bool) -> None:
        """Record what the server answered to a registration."""
        self._tried[name] = accepted

    def sent_for(self, names: Sequence[str]) -> SentNames:
        """Return what to send for a harness, by what is known now."""

        def is_known_with_costs(name: str) -> bool:
            if name in COST_NAMES:
                return True
            return self.accepts(name) if self._costs is None else name in self._costs

        return SentNames(
            session=next(filter(self.accepts, names), names[-1]),
            cost=next(filter(is_known_with_costs, names), names[-1]),
            nearest=next((name for name in names if name in SESSION_NAMES), names[-1]),
        )


def _listed(document: Any, path: str, field: str) -> frozenset[str] | None:
    """Return the values that a route takes for a field of its body; ``None`` if it lists none."""
    schema: Any = document
    for key in ("paths", path, "post", "requestBody", "content", "application/json", "schema"):
        schema = schema.get(key) if isinstance(schema, Mapping) else None
    fields = _variants(schema, document)
    named = [part["properties"].get(field) for part in fields if _has(part, "properties")]
    enums = [part.get("enum") for one in named for part in _variants(one, document)]
    values = (value for enum in enums if isinstance(enum, list) for value in enum)
    return frozenset(value for value in values if isinstance(value, str)) or None


def _variants(schema: Any, document: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and what it refers to."""
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return
    yield schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        found: Any = document
        for key in reference[2:].split("/"):
            found = found.get(key) if isinstance(found, Mapping) else None
        yield from _variants(found, document, depth + 1)
    for kind in ("anyOf", "oneOf", "allOf"):
        parts = schema.get(kind)
        for part in parts if isinstance(parts, list) else ():
            yield from _variants(part, document, depth + 1)


def _has(part: Mapping[str, Any], key: str) -> bool:
    return isinstance(part.get(key), Mapping)
