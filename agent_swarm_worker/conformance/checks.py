"""What a check is, and how one is declared.

How a check says that a promise is broken, or that it has no meaning here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_swarm_worker.conformance.session_fixture import SessionFixture

Body: TypeAlias = "Callable[[SessionFixture], Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of the contract, and how to see whether it is kept."""

    name: str
    promise: str
    """One sentence."""
    needs_stage: bool
    run: Body

    def __str__(self) -> str:
        return self.name


CHECKS: list[Check] = []
"""All of them, in the order in which they are run; filled by the modules that `suite` imports."""


def check(body: Body) -> Body:
    """Declare a check of an adapter, without a session that has somebody to talk to."""
    return _declare(body, needs_stage=False)


def in_fixture(body: Body) -> Body:
    """Declare a check of sessions, which need a stage."""
    return _declare(body, needs_stage=True)


def _declare(body: Body, *, needs_stage: bool) -> Body:
    promise = " ".join((body.__doc__ or "").split())
    name = body.__name__.replace("_", "-")
    CHECKS.append(Check(name, promise, needs_stage, body))
    return body


class BrokenPromise(Exception):
    """The provider does not do what the contract says; the message says what it did."""


class NotApplicable(Exception):
    """This promise has no meaning for this provider, or cannot be looked at here."""


def broken(what: str) -> NoReturn:
    """Say that a promise is broken, and how.

    Raises:
        BrokenPromise: always.
    """
    raise BrokenPromise(what)
