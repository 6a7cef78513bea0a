"""Declare the checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_swarm_worker.conformance.session_fixture import SessionFixture

Body: TypeAlias = "Callable[[SessionFixture], Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of the contract, with the code that checks it."""

    name: str
    promise: str
    """One sentence."""
    needs_fixture: bool
    run: Body

    def __str__(self) -> str:
        return self.name


CHECKS: list[Check] = []
"""All checks in the order of their run; filled by the modules that `suite` imports."""


def check(body: Body) -> Body:
    """Declare a check that needs no harness fixture."""
    return _declare(body, needs_fixture=False)


def session_check(body: Body) -> Body:
    """Declare a check that runs sessions against a harness fixture."""
    return _declare(body, needs_fixture=True)


def _declare(body: Body, *, needs_fixture: bool) -> Body:
    promise = " ".join((body.__doc__ or "").split())
    name = body.__name__.replace("_", "-")
    CHECKS.append(Check(name, promise, needs_fixture, body))
    return body
