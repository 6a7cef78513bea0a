"""Make sessions of the pi command line; find its records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.ids import is_uuid
from agent_swarm_worker.providers.kit.cli_adapter import CliAdapter
from agent_swarm_worker.providers.kit.native import mapping
from agent_swarm_worker.providers.pi_cli.conversation import PiConversation
from agent_swarm_worker.providers.pi_cli.launch import pi_launch
from agent_swarm_worker.providers.pi_cli.spec import SPEC, PiCliOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.contract import Guest, ProviderSessionConfig
    from agent_swarm_worker.providers.kit.launch import Launch

_HEADER_BYTES = 65_536


class PiCliAdapter(CliAdapter):
    """Runs each task in a process of the program."""

    spec = SPEC

    async def prepare(
        self, config: ProviderSessionConfig
    ) -> Callable[[ProviderSessionConfig], Launch]:
        """Check the prompt; the program runs no empty one, and does not say so."""
        if not config.prompt.strip():
            msg = "there is no prompt: pi was asked for nothing"
            raise ProviderError(msg)
        return pi_launch

    def translate(self, config: ProviderSessionConfig) -> PiConversation:
        """Return the conversation with one process."""
        return PiConversation(config)

    async def has_login(self, env: Mapping[str, str], guest: Guest) -> bool:
        """True if there is a key, a login, or a model of the user's own."""
        folder = PiCliOptions.load(env).agent_dir
        for name in ("auth.json", "models.json") if folder else ():
            if await guest.files.info(f"{folder}/{name}") is not None:
                return True
        return await super().has_login(env, guest)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """True if the record of that session exists; in another directory the program would ask."""
        folder = PiCliOptions.load(config.env).agent_dir
        if not folder or not is_uuid(session_id):
            return False
        for record in await config.guest.files.glob(
            f"{folder}/sessions", f"*/*_{session_id}.jsonl"
        ):
            try:
                content = await config.guest.read(record, max_bytes=_HEADER_BYTES)
                header = mapping(orjson.loads(content.partition(b"\n")[0]))
            except (OSError, ValueError):
                continue
            if header.get("cwd") == str(config.cwd):
                return True
        return False
