"""What a session tells of its output and its journal. Private: not part of the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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

    def heard(self, lines: Sequence[bytes]) -> None:
        """The harness has said something: these records, as the journal has them, or none."""
        ...

    def unwritten(self, lines: bytes) -> None:
        """Complete lines will never be in the journal: the disk does not take them."""
        ...
