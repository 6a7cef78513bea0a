"""What the coding tools have in common: checked arguments, errors as words, a scrubbed answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.providers.pi.tools.arguments import (
    Param,
    ToolRefusal,
    checked,
    object_schema,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.providers.pi.tools.place import Place


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
