"""The harness ``devin``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.network import check_reachable
from agent_swarm_worker.providers.devin.spec import SPEC, DevinOptions
from agent_swarm_worker.providers.kit.vendor_adapter import VendorAdapter, VendorParts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import (
        Guest,
        ProviderSession,
        ProviderSessionConfig,
    )


class DevinAdapter(VendorAdapter):
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

    def parts(self) -> VendorParts:
        """Import the parts of the harness."""
        from agent_swarm_worker.providers.devin import api, session, translate  # noqa: PLC0415

        return VendorParts(
            api=api.DevinApi,
            translator=translate.DevinTranslator,
            is_resumable=session.is_resumable,
            end_orphan=session.end_orphan,
        )
