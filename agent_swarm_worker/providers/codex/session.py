"""A session of the CLI: the shared one, with the system prompt in place while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.providers.kit.cli_session import CliSession

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderResult, ProviderSessionConfig
    from agent_swarm_worker.providers.codex.agents_md import AgentsMd
    from agent_swarm_worker.providers.kit.cli_session import HarnessFactory


class AgentsMdSession(CliSession):
    """A session that is told its system prompt by a block in the directory's ``AGENTS.md``."""

    def __init__(
        self, config: ProviderSessionConfig, make_harness: HarnessFactory, agents_md: AgentsMd
    ) -> None:
        super().__init__(config, make_harness)
        self._agents_md = agents_md

    async def wait_for_completion(self) -> ProviderResult:
        """Run the session; the file is as it was when it returns."""
        await self._agents_md.put(self.config.system_prompt)
        try:
            return await super().wait_for_completion()
        finally:
            with anyio.CancelScope(shield=True):
                await self._agents_md.take_away()
