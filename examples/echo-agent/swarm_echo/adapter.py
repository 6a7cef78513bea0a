"""Make sessions of ``echo-agent``: the spec and the two pure parts as a `ProviderAdapter`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from agent_swarm_worker.errors import BinaryMissing
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, SpecAdapter
from swarm_echo.launch import PROGRAM, echo_launch
from swarm_echo.spec import SPEC
from swarm_echo.translate import EchoTranslator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import Guest, ProviderSession, ProviderSessionConfig


class EchoAdapter(SpecAdapter):
    """Runs each task in a process of ``echo-agent``."""

    spec = SPEC

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Raise `BinaryMissing` if the agent is not installed."""
        if await guest.files.which(PROGRAM, env) is None:
            raise BinaryMissing(PROGRAM)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Prepare a session; `CliSession` does everything that concerns processes."""

        def harness(config: ProviderSessionConfig) -> CliHarness:
            return CliHarness(launch=echo_launch(config), translator=EchoTranslator(config))

        return CliSession(config, harness)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """True if the agent's own file of that session exists; the id may be any text."""
        try:
            name = f"{UUID(session_id)}.json"
        except ValueError:
            return False
        home = config.env.get("ECHO_AGENT_HOME") or f"{config.env.get('HOME', '')}/.echo-agent"
        found = await config.guest.files.info(f"{home}/{name}")
        return found is not None and found.kind == "file"

    async def translator(self, config: ProviderSessionConfig) -> EchoTranslator:
        """Return a translator for the replay of a session that a killed worker left."""
        return EchoTranslator(config)
