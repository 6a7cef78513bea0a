"""An in-process harness whose sessions take messages while they run."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    Guest,
    ProviderResult,
    ProviderSession,
    ProviderSessionConfig,
    ProviderTraits,
    SessionInit,
    SteerDelivery,
    SteerMode,
)
from agent_swarm_worker.providers.kit.session import BaseSession

SESSIONS: dict[str, SteeredSession] = {}
"""By task, for the test to look into."""


class SteeredAdapter:
    name = "steered"
    traits = ProviderTraits(has_mcp=False, steer_modes=("steer", "queue"))

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        if "STEERED_IS_BROKEN" in env:
            raise LookupError("a mistake in the adapter")

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        session = SESSIONS[config.task_id] = SteeredSession(config)
        return session

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        return False

    def format_command(self, command_name: str) -> str:
        return command_name


class SteeredSession(BaseSession):
    """Waits until it is told to end. What it is told decides what becomes of the message."""

    def __init__(self, config: ProviderSessionConfig) -> None:
        super().__init__(config, clock=SystemClock())
        self.heard: list[tuple[SteerMode, str]] = []
        self.is_broken = False
        self._end = anyio.Event()

    def end(self) -> None:
        self._end.set()

    async def wait_for_completion(self) -> ProviderResult:
        self.emit(SessionInit("steered-session"))
        await self._end.wait()
        return ProviderResult(exit_code=0, is_error=False, output=f"heard {len(self.heard)}")

    async def abort(self, reason: str = "cancelled") -> None:
        if self.is_broken:
            raise RuntimeError("this adapter cannot even stop")
        self._end.set()

    async def deliver_steering(self, mode: SteerMode, text: str) -> SteerDelivery:
        self.heard.append((mode, text))
        if "refuse this" in text:
            return SteerDelivery(False, reason="it is asleep")
        if "break at this" in text:
            raise RuntimeError("a mistake in the adapter")
        if "hang at this" in text:
            await anyio.sleep_forever()
        return SteerDelivery(True, mode="queue")
