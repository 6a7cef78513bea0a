"""A permission gate for tests: it answers as told, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from agent_swarm_worker.contract import PermissionRequest, Verdict
from agent_swarm_worker.contract.permissions import PolicyMode

DENIAL = "herons may not be disturbed"


class ScriptedGate:
    """Allows everything but the calls whose arguments, as text, have one of the words in them."""

    def __init__(self, *denied: str) -> None:
        self.denied = denied
        self.requests: list[PermissionRequest] = []
        self.cancelled: list[PermissionRequest] = []

    @property
    def mode(self) -> PolicyMode:
        return "rules"

    @property
    def asked(self) -> list[str]:
        return [request.tool_name for request in self.requests]

    async def decide(self, request: PermissionRequest) -> Verdict:
        self.requests.append(request)
        try:
            return await self.answer(request)
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(request)
            raise

    async def answer(self, request: PermissionRequest) -> Verdict:
        shown = f"{request.tool_name} {request.args}"
        if any(word in shown for word in self.denied):
            return Verdict(False, DENIAL)
        return Verdict(True, "rule 1")


class GateOf(ScriptedGate):
    """Answers with a function."""

    def __init__(self, answer: Callable[[PermissionRequest], Awaitable[Any]]) -> None:
        super().__init__()
        self._answer = answer

    async def answer(self, request: PermissionRequest) -> Verdict:
        verdict: Verdict = await self._answer(request)
        return verdict


async def never(_: PermissionRequest) -> Verdict:
    """Answer nothing, as a person who has gone home."""
    await anyio.sleep_forever()
    raise AssertionError


async def broken(_: PermissionRequest) -> Verdict:
    """Fail."""
    raise RuntimeError("the policy has a bug")
