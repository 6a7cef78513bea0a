"""What a tool of the in-process agent is: a name, a schema, and something to await."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a tool has to say to the model."""

    text: str
    is_error: bool = False


class Tool(Protocol):
    """One tool that the model may call."""

    @property
    def name(self) -> str:
        """The name the model knows it by, for example ``bash`` or ``mcp__github__search``."""
        ...

    @property
    def description(self) -> str:
        """When to use it, for the model."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of its arguments, an object."""
        ...

    async def run(self, args: Mapping[str, Any]) -> ToolOutcome:
        """Carry out one call. Arguments come from the model: anything may be wrong with them.

        Never raises for what the model or a server did wrong; that is an outcome with `is_error`.
        Cancelling it ends all that it started.
        """
        ...


class ToolBox(Protocol):
    """The tools of one session, open while the session lives."""

    def open(self) -> AbstractAsyncContextManager[tuple[Tool, ...]]:
        """Connect what has to be connected; what cannot be is left out and logged."""
        ...
