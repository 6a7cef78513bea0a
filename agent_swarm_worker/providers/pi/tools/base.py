"""What the coding tools have in common: checked arguments, errors as words, a scrubbed answer."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import anyio.to_thread

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.providers.pi.tools.arguments import (
    Param,
    ToolRefusal,
    checked,
    object_schema,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.providers.pi.tools.place import Place

T = TypeVar("T")


class CodingTool(ABC):
    """One tool on the session's files; what it answers is scrubbed here, once for all of them."""

    name: ClassVar[str]
    description: ClassVar[str]
    params: ClassVar[tuple[Param, ...]]

    def __init__(self, place: Place, redactor: Redactor) -> None:
        self.place = place
        self.redactor = redactor

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of its arguments."""
        return object_schema(self.params)

    async def run(self, args: Mapping[str, Any]) -> ToolOutcome:
        """Carry out one call; what is wrong with it comes back as words."""
        try:
            outcome = await self.use(checked(self.params, args))
        except (ToolRefusal, ProviderError) as refusal:
            outcome = ToolOutcome(f"{self.name}: {refusal}", is_error=True)
        except OSError as error:
            what = f"{self.name} {args.get('path', '')}".rstrip()
            outcome = ToolOutcome(f"{what}: {error.strerror or error}", is_error=True)
        return ToolOutcome(self.redactor.text(outcome.text), outcome.is_error)

    @abstractmethod
    async def use(self, args: dict[str, Any]) -> ToolOutcome:
        """Carry out one call with good arguments; may raise `ToolRefusal` and `OSError`."""


class Stop:
    """Tells a thread that nobody waits for it any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Nobody waits any more."""
        self._event.set()

    def check(self) -> None:
        """Give up if nobody waits; what is raised reaches nobody.

        Raises:
            ToolRefusal: the call was cancelled.
        """
        if self._event.is_set():
            msg = "cancelled"
            raise ToolRefusal(msg)


async def in_thread(work: Callable[[Stop], T]) -> T:
    """Run blocking work that changes nothing; cancelled, it is told to stop and left behind."""
    stop = Stop()
    try:
        return await anyio.to_thread.run_sync(work, stop, abandon_on_cancel=True)
    finally:
        stop.set()
