"""In-process harnesses that record the credentials of their sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    Capabilities,
    Guest,
    ProviderEvent,
    ProviderResult,
    ProviderSession,
    ProviderSessionConfig,
    SessionInit,
)
from agent_swarm_worker.errors import CredentialsMissing
from agent_swarm_worker.providers.codex.spec import SPEC as CODEX
from agent_swarm_worker.providers.kit.session import BaseSession
from agent_swarm_worker.providers.pi.spec import SPEC as PI

GIVEN: dict[str, Mapping[str, str]] = {}
"""The environment of each session, by task."""
RESULTS: list[ProviderResult] = []
"""What the next sessions end with; success if there is nothing left."""


class CodexLike:
    name = "codex"
    spec = replace(CODEX, capabilities=Capabilities(mcp_transports=()))

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        variables = self.spec.credentials.variables
        if not any(env.get(name) for name in variables):
            raise CredentialsMissing(self.name, variables)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        return _Session(config)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        return False

    def format_command(self, command_name: str) -> str:
        return command_name


class PiLike(CodexLike):
    name = "pi"
    spec = replace(PI, capabilities=Capabilities(mcp_transports=()))


class _Mute:
    """A translator of a language in which nothing means anything."""

    def feed(self, native: object) -> tuple[ProviderEvent, ...]:
        return ()

    def feed_stderr(self, line: str) -> tuple[ProviderEvent, ...]:
        return ()


class _Session(BaseSession):
    def __init__(self, config: ProviderSessionConfig) -> None:
        super().__init__(config, clock=SystemClock())

    async def wait_for_completion(self) -> ProviderResult:
        GIVEN[self.config.task_id] = dict(self.config.env)
        self.emit(SessionInit("noted"))
        # An agent that prints all it knows.
        self.take([json.dumps({"type": "env", "env": dict(self.config.env)}).encode()], _Mute())
        return RESULTS.pop(0) if RESULTS else ProviderResult(exit_code=0, is_error=False)

    async def abort(self, reason: str = "cancelled") -> None:
        """Nothing to abort."""
