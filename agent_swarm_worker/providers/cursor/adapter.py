"""Make sessions of the Cursor CLI; find its records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.ids import is_uuid
from agent_swarm_worker.providers.cursor.launch import prepared
from agent_swarm_worker.providers.cursor.spec import SPEC, CursorOptions
from agent_swarm_worker.providers.cursor.translate import CursorTranslator
from agent_swarm_worker.providers.kit.cli_adapter import CliAdapter

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.kit.launch import Launch


class CursorAdapter(CliAdapter):
    """Runs each task in a process of the CLI with a home of its own."""

    spec = SPEC

    async def prepare(
        self, config: ProviderSessionConfig
    ) -> Callable[[ProviderSessionConfig], Launch]:
        """Prepare the session's home."""
        return await prepared(config)

    def translate(self, config: ProviderSessionConfig) -> CursorTranslator:
        """Return the translator of one process."""
        return CursorTranslator(config)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """True if the record of that chat exists."""
        home = CursorOptions.load(config.env).home
        if not home or not is_uuid(session_id):
            return False
        found = await config.guest.files.glob(f"{home}/.cursor/chats", f"*/{session_id}/*")
        return bool(found)
