"""Make sessions of the Amp CLI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_swarm_worker.providers.amp.launch import prepared
from agent_swarm_worker.providers.amp.spec import SPEC
from agent_swarm_worker.providers.amp.translate import AmpTranslator
from agent_swarm_worker.providers.kit.cli_adapter import CliAdapter

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.kit.launch import Launch

_THREAD = re.compile(r"T-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class AmpAdapter(CliAdapter):
    """Runs each task in a process of the CLI."""

    spec = SPEC

    async def prepare(
        self, config: ProviderSessionConfig
    ) -> Callable[[ProviderSessionConfig], Launch]:
        """Prepare the session's configuration."""
        return await prepared(config)

    def translate(self, config: ProviderSessionConfig) -> AmpTranslator:
        """Return the translator of one process."""
        return AmpTranslator(config)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:  # noqa: ARG002 - the protocol's
        """True if it is the id of a thread: threads are on the vendor's server."""
        return _THREAD.fullmatch(session_id) is not None
