"""Run the checks: all of them for the command, one by one for a test suite.

@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_the_contract(check):
    assert await is_kept(check, "foo", FooFixture)
"""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio

from agent_swarm_worker.aio import first_error
from agent_swarm_worker.conformance import (  # noqa: F401 - each declares its checks
    of_adapter,
    of_permissions,
    of_session,
)
from agent_swarm_worker.conformance.checks import CHECKS, Check
from agent_swarm_worker.conformance.session_fixture import (
    BrokenPromise,
    NotApplicable,
    SessionFixture,
)
from agent_swarm_worker.providers.registry import create_provider
from agent_swarm_worker.sandboxes.local import LocalSandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from agent_swarm_worker.conformance.harness_fixture import HarnessFixture
    from agent_swarm_worker.sandboxes.port import Sandbox

__all__ = ["CHECKS", "CHECK_S", "Check", "Outcome", "examine", "is_kept", "outcome_of"]

CHECK_S = 150.0
"""Time limit of a check; one that exceeds it counts as broken."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one check."""

    check: Check
    state: Literal["kept", "broken", "not run"]
    why: str = ""


async def examine(
    provider: str, *, env: Mapping[str, str], harness: Callable[[], HarnessFixture] | None
) -> AsyncIterator[Outcome]:
    """Run every check, one after the other.

    Args:
        provider: its name.
        env: variables for its sessions; they override the fixture's.
        harness: makes a harness fixture; without it the checks that need one are not run.

    Raises:
        ConfigError: no provider has this name, or its code cannot be loaded.
    """
    create_provider(provider)
    for check in CHECKS:
        yield await outcome_of(check, provider, env=env, harness=harness)


async def outcome_of(
    check: Check,
    provider: str,
    *,
    env: Mapping[str, str] | None = None,
    harness: Callable[[], HarnessFixture] | None = None,
    sandbox: Sandbox | None = None,
) -> Outcome:
    """Run one check in a directory of its own; by default its sessions run on this machine."""
    if check.needs_fixture and harness is None:
        return Outcome(check, "not run", "no harness fixture")
    fixture: SessionFixture | None = None
    try:
        with anyio.move_on_after(CHECK_S):
            async with AsyncExitStack() as resources:
                folder = resources.enter_context(
                    tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True)
                )
                other_end = None
                if harness is not None:
                    other_end = await resources.enter_async_context(harness())
                fixture = SessionFixture(
                    provider,
                    create_provider(provider),
                    Path(folder),
                    env or {},
                    sandbox if sandbox is not None else LocalSandbox(),
                    resources,
                    other_end,
                )
                await check.run(fixture)
                return Outcome(check, "kept")
    except Exception as error:
        return _outcome_with(check, error)
    seen = fixture.summary() if fixture is not None else "the harness fixture did not start"
    return Outcome(check, "broken", f"it was not over within {CHECK_S:.0f} s; {seen}")


async def is_kept(
    check: Check,
    provider: str,
    harness: Callable[[], HarnessFixture] | None = None,
    env: Mapping[str, str] | None = None,
    sandbox: Sandbox | None = None,
) -> bool:
    """Raise `BrokenPromise` if the promise is broken, else return True; for tests."""
    outcome = await outcome_of(check, provider, env=env, harness=harness, sandbox=sandbox)
    if outcome.state == "broken":
        raise BrokenPromise(f"{check.promise} But {outcome.why}")
    return True


def _outcome_with(check: Check, error: BaseException) -> Outcome:
    error = first_error(error)  # of a session that ran beside the check
    if isinstance(error, NotApplicable):
        return Outcome(check, "not run", str(error))
    if isinstance(error, BrokenPromise):
        return Outcome(check, "broken", str(error))
    return Outcome(check, "broken", f"it raised {error!r}")
