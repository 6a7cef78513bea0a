"""An in-process harness that asks for permission before each tool call.

The task's text names the calls: ``CALLS [["Bash", {"command": "ls"}], …]``, made at once with
``TOGETHER`` instead of one after the other. The output tells the verdicts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    Guest,
    HarnessSpec,
    PermissionRequest,
    ProviderResult,
    ProviderSession,
    ProviderSessionConfig,
    SessionInit,
    ToolStart,
)
from agent_swarm_worker.providers.kit.session import BaseSession

SPEC = HarnessSpec(
    name="ruled",
    wire_name="claude",
    credentials=Credentials(),
    capabilities=Capabilities(mcp_transports=(), permissions="every"),
)


class RuledAdapter:
    name = "ruled"
    spec = SPEC

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        pass

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        return _Session(config)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        return False

    def format_command(self, command_name: str) -> str:
        return command_name


class _Session(BaseSession):
    def __init__(self, config: ProviderSessionConfig) -> None:
        super().__init__(config, clock=SystemClock())
        self._scope = anyio.CancelScope()
        self._verdicts: dict[int, list[Any]] = {}

    async def wait_for_completion(self) -> ProviderResult:
        self.emit(SessionInit("ruled-session"))
        marker = "TOGETHER " if "TOGETHER [" in self.config.prompt else "CALLS "
        listed = self.config.prompt.rpartition(marker)[2]
        calls, _ = json.JSONDecoder().raw_decode(listed)
        with self._scope:
            if marker == "CALLS ":
                for number, (tool, args) in enumerate(calls):
                    await self._make_call(number, tool, args)
            else:
                async with anyio.create_task_group() as group:
                    for number, (tool, args) in enumerate(calls):
                        group.start_soon(self._make_call, number, tool, args)
        if self._scope.cancelled_caught:
            return ProviderResult(exit_code=143, is_error=True, error_category="aborted")
        told = [self._verdicts[number] for number in sorted(self._verdicts)]
        return ProviderResult(exit_code=0, is_error=False, output=json.dumps(told))

    async def _make_call(self, number: int, tool: str, args: Any) -> None:
        self.emit(ToolStart(str(number), tool, args))
        gate = self.config.permissions
        if gate is None:
            self._verdicts[number] = ["no gate"]
            return
        request = PermissionRequest(tool_name=tool, args=args, tool_call_id=str(number))
        verdict = await gate.decide(request)
        self._verdicts[number] = [verdict.is_allowed, verdict.reason]

    async def abort(self, reason: str = "cancelled") -> None:
        self._scope.cancel()
