"""The harness ``claude-managed``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import SwarmWorkerError
from agent_swarm_worker.network import check_reachable
from agent_swarm_worker.providers.claude_managed.spec import SPEC, ManagedOptions
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


class ManagedAdapter(SpecAdapter):
    """Runs each task as a session at the vendor."""

    spec = SPEC

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Check that sessions can start with this environment.

        Raises:
            CredentialsMissing: there is no key, no agent or no environment.
            BadSetting: the address or a number cannot be used.
        """
        from agent_swarm_worker.providers.claude_managed.api import ManagedApi  # noqa: PLC0415

        del guest
        check_reachable(ManagedOptions.load(env).base_url, name="ANTHROPIC_BASE_URL")
        ManagedApi.of_session(env)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Create a session; raises the errors of `check`."""
        from agent_swarm_worker.providers.claude_managed.api import ManagedApi  # noqa: PLC0415
        from agent_swarm_worker.providers.claude_managed.session import (  # noqa: PLC0415
            ManagedSession,
        )

        await self.check(config.env, config.guest)
        options = ManagedOptions.load(config.env)
        for name, secret in (
            ("ANTHROPIC_API_KEY", options.api_key),
            ("MANAGED_GITHUB_TOKEN", options.github_token),
        ):
            if secret:
                config.redactor.add(name, secret)
        return ManagedSession(config, ManagedApi.of_session(config.env))

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """Return whether the vendor has the session, and it takes messages."""
        from agent_swarm_worker.providers.claude_managed.api import ManagedApi  # noqa: PLC0415
        from agent_swarm_worker.providers.claude_managed.session import (  # noqa: PLC0415
            is_resumable,
        )

        if not SESSION_ID.fullmatch(session_id):
            return False
        try:
            async with ManagedApi.of_session(config.env) as api:
                return is_resumable(await api.get(session_id))
        except SwarmWorkerError:
            return False

    async def translator(self, config: ProviderSessionConfig) -> Translator:
        """Return the translator for a replay."""
        from agent_swarm_worker.providers.claude_managed.translate import (  # noqa: PLC0415
            ManagedTranslator,
        )

        return ManagedTranslator(config)

    async def end_remote(
        self,
        config: ProviderSessionConfig,
        translator: Translator,
        take: Callable[[Sequence[bytes]], None],
    ) -> None:
        """Take what the session said since, and stop it unless it is at rest."""
        from agent_swarm_worker.providers.claude_managed.session import end_orphan  # noqa: PLC0415
        from agent_swarm_worker.providers.claude_managed.translate import (  # noqa: PLC0415
            ManagedTranslator,
        )

        if isinstance(translator, ManagedTranslator) and translator.may_run_there:
            await end_orphan(config, translator, take, SystemClock())
