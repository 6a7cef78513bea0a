"""Make sessions of the Gemini CLI; find its records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.ids import is_uuid
from agent_swarm_worker.providers.gemini.launch import prepared
from agent_swarm_worker.providers.gemini.spec import SPEC, GeminiOptions
from agent_swarm_worker.providers.gemini.translate import GeminiTranslator
from agent_swarm_worker.providers.kit.cli_adapter import CliAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.contract import Guest, ProviderSessionConfig
    from agent_swarm_worker.providers.kit.launch import Launch

_OWNER = ".project_root"
"""The file with the working directory that a folder of records belongs to."""
_MAX_PATH_BYTES = 4096


class GeminiAdapter(CliAdapter):
    """Runs each task in a process of the CLI with a home of its own."""

    spec = SPEC

    async def prepare(
        self, config: ProviderSessionConfig
    ) -> Callable[[ProviderSessionConfig], Launch]:
        """Prepare the session's home."""
        return await prepared(config)

    def translate(self, config: ProviderSessionConfig) -> GeminiTranslator:
        """Return the translator of one process."""
        return GeminiTranslator(config)

    async def has_login(self, env: Mapping[str, str], guest: Guest) -> bool:
        """True if there is a key, a login, or a project of Vertex AI."""
        options = GeminiOptions.load(env)
        if options.uses_vertex and options.cloud_project:
            return True
        return await super().has_login({**env, "HOME": options.user_home}, guest)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """True if the record of that session exists; the CLI finds it in its directory only."""
        home = GeminiOptions.load(config.env).user_home
        if not home or not is_uuid(session_id):
            return False
        guest = config.guest
        pattern = f"*/chats/session-*-{session_id[:8]}.json*"
        for record in await guest.files.glob(f"{home}/.gemini/tmp", pattern):
            owner = f"{record.rpartition('/chats/')[0]}/{_OWNER}"
            try:
                path = await guest.read(owner, max_bytes=_MAX_PATH_BYTES)
            except OSError:
                continue
            if path.decode(errors="replace").strip() == str(config.cwd):
                return True
        return False
