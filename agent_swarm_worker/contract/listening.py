"""The interests of event listeners, and the sink of a session's journal. Private."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent_swarm_worker.contract.events import EventListener

_Listener = TypeVar("_Listener", bound=Callable[..., None])
Lines = Literal["all", "unexplained", "none"]


@dataclass(frozen=True, slots=True)
class Interest:
    """Which events a listener wants. A session may deliver others, too."""

    kinds: frozenset[type[Any]] | None = None
    """Classes of events other than `RawLog`; ``None``: all."""
    lines: Lines = "all"
    """Which lines it wants as `RawLog`; ``unexplained``: those without an event of `kinds`."""


EVERYTHING = Interest()


def listens_to(*kinds: type[Any], lines: Lines = "none") -> Callable[[_Listener], _Listener]:
    """Declare the events that a listener wants; without `kinds` every kind.

    This saves creating and passing the others. A listener without a declaration gets every event.
    """
    interest = Interest(frozenset(kinds) or None, lines)

    def mark(listener: _Listener) -> _Listener:
        listener.interest = interest  # type: ignore[attr-defined]
        return listener

    return mark


def interest_of(listener: EventListener) -> Interest:
    """Return the declared interest of a listener."""
    interest = getattr(listener, "interest", None)
    return interest if isinstance(interest, Interest) else EVERYTHING


class ByteRange(NamedTuple):
    """Whole lines of a file: the offset of the first, and the offset behind the last."""

    start: int
    end: int


class SessionSink(Protocol):
    """Notified of a session's output and its place in the journal. Never raises.

    Calls are synchronous, in order, and before any listener gets the lines concerned. Harness
    output cannot forge a call.
    """

    def wrote(self, written: ByteRange) -> None:
        """Lines were appended to the journal."""

    def switched(self, path: Path, start: int) -> None:
        """The journal continues in another file, whose lines begin at this offset."""

    def received(self, lines: Sequence[bytes]) -> None:
        """The harness produced output: these records as the journal has them, or none."""

    def unwritten(self, lines: bytes) -> None:
        """Complete lines will not be in the journal because the disk is full."""
