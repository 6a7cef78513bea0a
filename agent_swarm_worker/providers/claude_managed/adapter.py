"""The harness ``claude-managed``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.network import check_reachable
from agent_swarm_worker.providers.claude_managed.spec import SPEC, ManagedOptions
from agent_swarm_worker.providers.kit.vendor_adapter import VendorAdapter, VendorParts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import (
        Guest,
        ProviderSession,
        ProviderSessionConfig,
    )


class ManagedAdapter(VendorAdapter):
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

    def parts(self) -> VendorParts:
        """Import the parts of the harness."""
        from agent_swarm_worker.providers.claude_managed import (  # noqa: PLC0415
            api,
            session,
            translate,
        )

        return VendorParts(
            api=api.ManagedApi,
            translator=translate.ManagedTranslator,
            is_resumable=session.is_resumable,
            end_orphan=session.end_orphan,
        )
