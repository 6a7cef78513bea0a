"""Check the promises of a harness that asks for permission to call tools."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.conformance.checks import session_check
from agent_swarm_worker.conformance.harness_fixture import MarkingFixture
from agent_swarm_worker.conformance.session_fixture import (
    ABORT_S,
    SESSION_S,
    NotApplicable,
    ObservedSession,
    SessionFixture,
    broken,
)
from agent_swarm_worker.contract import PermissionDecided, PermissionRequest, ToolEnd, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_swarm_worker.contract.permissions import PolicyMode

REASON = "herons may not be disturbed"
TOO_LONG_S = 2 * SESSION_S
"""How long a tool takes that must not run, if the fixture has none that leaves a mark."""
MARK = "heron"
"""The file that the tool makes."""


class Gate:
    """A permission gate that keeps what it was asked, and answers with a function."""

    def __init__(self, answer: Callable[[], Awaitable[Verdict]]) -> None:
        self._answer = answer
        self.requests: list[PermissionRequest] = []
        self.is_asked = anyio.Event()

    @property
    def mode(self) -> PolicyMode:
        """The policy."""
        return "rules"

    async def decide(self, request: PermissionRequest) -> Verdict:
        """Answer a request."""
        self.requests.append(request)
        self.is_asked.set()
        return await self._answer()


async def _allow() -> Verdict:
    return Verdict(True, "allowed by the check")


async def _deny() -> Verdict:
    return Verdict(False, REASON)


async def _fail() -> Verdict:
    raise RuntimeError("the gate has a bug")


async def _never() -> Verdict:
    await anyio.sleep_forever()
    raise AssertionError


def _require_support(fixture: SessionFixture) -> None:
    if fixture.adapter.spec.capabilities.permissions == "none":
        raise NotApplicable("it asks for no permission")


def _prompt(fixture: SessionFixture, seconds: float) -> str:
    harness = fixture.harness
    return harness.marks(MARK) if isinstance(harness, MarkingFixture) else harness.works(seconds)


async def _has_run(observed: ObservedSession) -> bool:
    return await observed.config.guest.exists(observed.config.cwd / MARK)


async def _require_no_mark(observed: ObservedSession) -> None:
    if await _has_run(observed):
        broken(f"the call ran all the same; {observed.summary()}")


async def _worked(fixture: SessionFixture, gate: Gate, seconds: float) -> ObservedSession:
    """Run a session whose agent calls a tool; return when it has ended."""
    _require_support(fixture)
    observed = await fixture.session(_prompt(fixture, seconds), permissions=gate)
    await observed.finish()
    if not gate.requests:
        broken(f"nobody was asked about the tool call; {observed.summary()}")
    decided = observed.of(PermissionDecided)
    if len(decided) != len(gate.requests):
        broken(f"{len(gate.requests)} questions gave {len(decided)} PermissionDecided")
    return observed


@session_check
async def an_allowed_call_runs(fixture: SessionFixture) -> None:
    """Under a permission policy a tool call that is allowed runs."""
    observed = await _worked(fixture, Gate(_allow), 0.5)
    ends = observed.of(ToolEnd)
    if observed.result.is_error or not ends or ends[-1].is_error:
        broken(f"it did not run; {observed.summary()}")
    if isinstance(fixture.harness, MarkingFixture) and not await _has_run(observed):
        broken(f"the tool left no mark; {observed.summary()}")


@session_check
async def a_denied_call_does_not_run(fixture: SessionFixture) -> None:
    """A tool call that is denied does not run, ends as an error, and the agent hears why."""
    observed = await _worked(fixture, Gate(_deny), TOO_LONG_S)
    await _require_no_mark(observed)
    if not any(end.is_error for end in observed.of(ToolEnd)):
        broken(f"no call ended as an error; {observed.summary()}")
    if not any(REASON in said for said in fixture.harness.heard()):
        broken("the reason did not reach the agent")


@session_check
async def a_gate_that_fails_denies(fixture: SessionFixture) -> None:
    """If the permission gate raises, the tool call does not run."""
    observed = await _worked(fixture, Gate(_fail), TOO_LONG_S)
    await _require_no_mark(observed)
    if any(event.is_allowed for event in observed.of(PermissionDecided)):
        broken("the call was allowed")


@session_check
async def an_abort_does_not_wait_for_permission(fixture: SessionFixture) -> None:
    """An abort while a permission request is open ends the session at once; nothing runs."""
    _require_support(fixture)
    gate = Gate(_never)
    observed = await fixture.session(_prompt(fixture, TOO_LONG_S), permissions=gate)
    async with anyio.create_task_group() as group:
        group.start_soon(observed.finish)
        with anyio.move_on_after(SESSION_S):
            await wait_any(gate.is_asked.wait, partial(observed.ended, SESSION_S, "did not end"))
        if not gate.requests:
            broken(f"nobody was asked about the tool call; {observed.summary()}")
        await observed.session.abort()
        await observed.ended(ABORT_S, "did not end after the abort")
    await _require_no_mark(observed)
    if not observed.result.is_error:
        broken(f"it ended well; {observed.summary()}")
    if any(event.is_allowed for event in observed.of(PermissionDecided)):
        broken("the call was allowed")
