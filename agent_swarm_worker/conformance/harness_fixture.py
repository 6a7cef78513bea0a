"""Declare the harness fixture, and find that of a provider.

A harness fixture is the other end of a provider's sessions during the checks: a scripted model, or
a program. So the checks need no knowledge of the harness.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.providers.registry import imported, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

GROUP = "agent_swarm_worker.conformance"
"""Entry points by the provider's name; each a callable without arguments that makes a fixture."""


@runtime_checkable
class HarnessFixture(Protocol):
    """The other end of a harness: an asynchronous context manager, used for one check."""

    @property
    def env(self) -> Mapping[str, str]:
        """Variables of the sessions besides ``PATH`` and ``HOME``; read after `__aenter__`."""
        ...

    def answers(self, words: str) -> str:
        """Return a prompt to which the agent answers exactly `words`, one line of text."""
        ...

    def works(self, seconds: float) -> str:
        """Return a prompt that keeps the agent busy in a tool for so long; then it answers."""
        ...

    def heard(self) -> Sequence[str]:
        """Return the texts that have reached the agent so far: prompts, and messages after them."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class MarkingFixture(HarnessFixture, Protocol):
    """A harness fixture that can show whether a tool ran; one whose harness asks should be."""

    def marks(self, name: str) -> str:
        """Return a prompt to which a tool makes a file in the working directory."""
        ...


def find_fixture(provider: str, where: str | None = None) -> Callable[[], HarnessFixture] | None:
    """Return the factory of a provider's harness fixture, or ``None`` if it has none.

    Args:
        provider: looked up among the entry points, then in its specification (`stage`).
        where: ``module:attribute``, instead of a look-up.

    Raises:
        BadSetting: nothing callable is found there.
    """
    known = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    target = where or known.get(provider) or spec_of(provider).stage or None
    if target is None:
        return None
    try:
        found = imported(target)
    except Exception as error:  # foreign code may raise anything
        raise BadSetting("--stage", target, str(error) or type(error).__name__) from error
    if not callable(found):
        raise BadSetting("--stage", target, "it is not a class or function")
    return cast("Callable[[], HarnessFixture]", found)
