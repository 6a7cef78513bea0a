"""What a listener wants to hear of a session. Private: not part of the public API.

A listener without a mark hears everything. A session may deliver more than a mark asks for, so a
listener passes over what it does not want; a mark saves the making and handing over.

What a session tells of its output and its journal. Private: not part of the public API.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent_swarm_worker.contract.session import EventListener

_Listener = TypeVar("_Listener", bound=Callable[..., None])
Lines = Literal["all", "unexplained", "none"]


@dataclass(frozen=True, slots=True)
class Interest:
    """Which events a listener wants."""

    kinds: frozenset[type[Any]] | None = None
    """Classes of events other than `RawLog`; ``None``: all."""
    lines: Lines = "all"
    """Which lines it wants as `RawLog`; ``unexplained``: those of which none of `kinds` came."""


EVERYTHING = Interest()


def listens_to(*kinds: type[Any], lines: Lines = "none") -> Callable[[_Listener], _Listener]:
    """Mark a listener with what it wants to hear; without `kinds` that is every kind of event."""
    interest = Interest(frozenset(kinds) or None, lines)

    def mark(listener: _Listener) -> _Listener:
        listener.interest = interest  # type: ignore[attr-defined]
        return listener

    return mark


def interest_of(listener: EventListener) -> Interest:
    """Return what a listener was marked with."""
    interest = getattr(listener, "interest", None)
    return interest if isinstance(interest, Interest) else EVERYTHING


class ByteRange(NamedTuple):
    """Whole lines of a file: the offset of the first, and the one behind the last."""

    start: int
    end: int


class SessionSink(Protocol):
    """Takes notice of what a session has said, and of what became of it. Never raises.

    It is called synchronously, in the order in which things happened, and before any listener
    hears of the lines concerned. Harness output cannot cause a call.
    """

    def wrote(self, written: ByteRange) -> None:
        """Lines are on disk, behind all that were before."""
        ...

    def switched(self, path: Path, start: int) -> None:
        """The session goes on in another file, whose lines begin at this offset."""
        ...

    def received(self, lines: Sequence[bytes]) -> None:
        """The harness has said something: these records, as the journal has them, or none."""
        ...

    def unwritten(self, lines: bytes) -> None:
        """Complete lines will never be in the journal: the disk does not take them."""
        ...
