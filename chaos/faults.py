"""The faults between a client and its API."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a request is harmed."""

    REFUSE = "refuse"
    """Nobody listens. For one request: the connection is reset before anything is forwarded."""
    HANG = "hang"
    """The request is taken and never answered."""
    ANSWER_500 = "answer_500"
    """An internal error; the API is not asked."""
    HTML = "html"
    """A page of some gateway, with `status` 200 or 502; the API is not asked."""
    HALF_BODY = "half_body"
    """The API answers; half of it comes through."""
    DRIP = "drip"
    """The API answers; it comes through slowly, within `seconds`."""
    LOSE_ANSWER = "lose_answer"
    """The API does what was asked, and nobody learns of it."""
    LATE_500 = "late_500"
    """The API does what was asked, and an internal error is told."""
    DUPLICATE = "duplicate"
    """The API gets the request twice; the second answer comes through."""
    DELAY = "delay"
    """The request waits for `seconds` before the API gets it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of harm and its measure."""

    kind: Kind
    seconds: float = 1.0
    """Of `DRIP` and `DELAY`."""
    status: int = 502
    """Of `HTML`."""

    def __str__(self) -> str:
        match self.kind:
            case Kind.DRIP | Kind.DELAY:
                return f"{self.kind} {self.seconds:g}s"
            case Kind.HTML:
                return f"{self.kind} {self.status}"
            case _:
                return str(self.kind)


REFUSE = Fault(Kind.REFUSE)
HANG = Fault(Kind.HANG)
ANSWER_500 = Fault(Kind.ANSWER_500)
HTML_200 = Fault(Kind.HTML, status=200)
HTML_502 = Fault(Kind.HTML, status=502)
HALF_BODY = Fault(Kind.HALF_BODY)
LOSE_ANSWER = Fault(Kind.LOSE_ANSWER)
LATE_500 = Fault(Kind.LATE_500)
DUPLICATE = Fault(Kind.DUPLICATE)


def drip(seconds: float) -> Fault:
    """Return a fault that spreads an answer over so many seconds."""
    return Fault(Kind.DRIP, seconds)


def delay(seconds: float) -> Fault:
    """Return a fault that holds a request back for so many seconds."""
    return Fault(Kind.DELAY, seconds)
