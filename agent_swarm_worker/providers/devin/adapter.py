"""The harness ``devin``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import BadSetting, SwarmWorkerError
from agent_swarm_worker.network import check_reachable
from agent_swarm_worker.providers.devin.spec import SPEC, DevinOptions
from agent_swarm_worker.providers.kit.launch import SpecAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_swarm_worker.contract import (
        Guest,
        ProviderSession,
        ProviderSessionConfig,
        Translator,
    )

SESSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{3,99}")


class DevinAdapter(SpecAdapter):
    """Runs each task as a session at the vendor."""

    spec = SPEC

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Check that sessions can start with this environment.

        Raises:
            BadSetting: the role is that of a lead, tool servers are asked for, or an address or a
                number cannot be used.
            CredentialsMissing: there is no key, or no organisation.
        """
        del guest
        self._checked(env)

    def _checked(self, env: Mapping[str, str]) -> None:
        from agent_swarm_worker.providers.devin.api import DevinApi  # noqa: PLC0415 - when used

        options = DevinOptions.load(env)
        if options.agent_role == "lead":
            raise BadSetting("AGENT_ROLE", "lead", "Devin has no tools of the swarm to lead with")
        if options.has_mcp:
            why = "no tool servers can be passed on to Devin"
            raise BadSetting("HAS_MCP", "true", why)
        check_reachable(options.base_url, name="DEVIN_API_BASE_URL")
        DevinApi.of_session(env)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Create a session; raises the errors of `check`."""
        from agent_swarm_worker.providers.devin.api import DevinApi  # noqa: PLC0415 - when used
        from agent_swarm_worker.providers.devin.session import DevinSession  # noqa: PLC0415

        self._checked({**config.env, "AGENT_ROLE": config.role})
        config.redactor.add("DEVIN_API_KEY", DevinOptions.load(config.env).api_key)
        return DevinSession(config, DevinApi.of_session(config.env))

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """Return whether the vendor has the session, and it takes messages."""
        from agent_swarm_worker.providers.devin.api import DevinApi  # noqa: PLC0415 - when used
        from agent_swarm_worker.providers.devin.session import is_resumable  # noqa: PLC0415

        if not SESSION_ID.fullmatch(session_id):
            return False
        try:
            async with DevinApi.of_session(config.env) as api:
                return is_resumable(await api.get(session_id))
        except SwarmWorkerError:
            return False

    async def translator(self, config: ProviderSessionConfig) -> Translator:
        """Return the translator for a replay."""
        from agent_swarm_worker.providers.devin.translate import DevinTranslator  # noqa: PLC0415

        return DevinTranslator(config)

    async def end_remote(
        self,
        config: ProviderSessionConfig,
        translator: Translator,
        take: Callable[[Sequence[bytes]], None],
    ) -> None:
        """Take what the session said since, and terminate it unless it is over."""
        from agent_swarm_worker.providers.devin.session import end_orphan  # noqa: PLC0415
        from agent_swarm_worker.providers.devin.translate import DevinTranslator  # noqa: PLC0415

        if isinstance(translator, DevinTranslator) and translator.may_run_there:
            await end_orphan(config, translator, take, SystemClock())
