"""What a provider's sessions talk to while they are examined.

A harness cannot be examined without somebody on its other end: a model, or a program. A stage is
that end. It is told what is to happen and gives the prompt that makes it happen, so the checks
need to know nothing of the harness.
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
"""Entry points by the provider's name; each is a callable without arguments that makes a stage."""


@runtime_checkable
class HarnessFixture(Protocol):
    """The other end of a harness. An asynchronous context manager; used for one check."""

    @property
    def env(self) -> Mapping[str, str]:
        """What the sessions' environment needs besides ``PATH`` and ``HOME``, once entered."""
        ...

    def answers(self, words: str) -> str:
        """Return a prompt to which the agent answers exactly `words`, one plain line."""
        ...

    def works(self, seconds: float) -> str:
        """Return a prompt with which the agent is busy in a tool for so long, then answers.

        A check that aborts the session is broken if the tool has ended before.
        """
        ...

    def heard(self) -> Sequence[str]:
        """Return what has reached the agent so far: the prompt, and messages after it."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def find_stage(provider: str, where: str | None = None) -> Callable[[], HarnessFixture] | None:
    """Return what makes a stage for a provider, or ``None`` if there is none.

    Args:
        provider: its name; stages are found by it among the entry points.
        where: ``module:attribute`` instead.

    Raises:
        BadSetting: `where`, or the entry point, leads nowhere.
    """
    known = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    target = where or known.get(provider) or spec_of(provider).stage or None
    if target is None:
        return None
    try:
        found = imported(target)
    except Exception as error:  # other people's code: anything may be wrong with it
        raise BadSetting("--stage", target, str(error) or type(error).__name__) from error
    if not callable(found):
        raise BadSetting("--stage", target, "it is not a class or function")
    return cast("Callable[[], HarnessFixture]", found)
