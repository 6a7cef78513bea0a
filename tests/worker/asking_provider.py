"""An in-process harness that asks about every call; its output is the policy of its session."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, EntryPoints, entry_points

import pytest

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    Capabilities,
    Guest,
    HarnessSpec,
    ProviderResult,
    ProviderSession,
    ProviderSessionConfig,
    SessionInit,
)
from agent_swarm_worker.providers import registry
from agent_swarm_worker.providers.kit.session import BaseSession

SPEC = HarnessSpec(
    name="asking", wire_name="claude", capabilities=Capabilities(permissions="every")
)
SERVERS: dict[str, list[str]] = {}
"""The tool servers of each session, by task."""


class AskingAdapter:
    name = "asking"
    spec = SPEC

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Nothing is needed."""

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        SERVERS[config.task_id] = [server.name for server in config.mcp_servers]
        return _Session(config)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        return False

    def format_command(self, command_name: str) -> str:
        return command_name


class _Session(BaseSession):
    def __init__(self, config: ProviderSessionConfig) -> None:
        super().__init__(config, clock=SystemClock())
        self._gate = config.permissions

    async def wait_for_completion(self) -> ProviderResult:
        self.emit(SessionInit("asking-session"))
        mode = self._gate.mode if self._gate else "none"
        return ProviderResult(exit_code=0, is_error=False, output=mode)

    async def abort(self, reason: str = "cancelled") -> None:
        """It has ended already."""


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the harness one of the installed ones."""

    def found(group: str, _path: object) -> EntryPoints:
        ours = EntryPoint("asking", "asking_provider:AskingAdapter", group)
        return EntryPoints([*entry_points(group=group), ours])

    monkeypatch.setattr(registry, "_installed", found)
