"""The base of an adapter for sessions at a vendor: resuming, replaying and ending them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import SwarmWorkerError
from agent_swarm_worker.providers.kit.launch import SpecAdapter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from agent_swarm_worker.contract import ProviderSessionConfig, Translator
    from agent_swarm_worker.providers.kit.vendor_api import VendorApi
    from agent_swarm_worker.providers.kit.vendor_records import Record, VendorTranslator

SESSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{3,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorParts:
    """What a harness consists of; imported when it is used."""

    api: type[VendorApi]
    translator: Callable[[ProviderSessionConfig], VendorTranslator]
    is_resumable: Callable[[Record], bool]
    """True for a session, as the vendor describes it, that a message makes work again."""
    end_orphan: Callable[..., Awaitable[None]]
    """Takes what a killed worker's session has said since, and ends it there."""


class VendorAdapter(SpecAdapter):
    """The base; a harness adds `check`, `create_session` and its parts."""

    def parts(self) -> VendorParts:
        """Import the parts of the harness."""
        raise NotImplementedError

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """Return whether the vendor has the session, and it takes messages."""
        if not SESSION_ID.fullmatch(session_id):
            return False
        parts = self.parts()
        try:
            async with parts.api.of_session(config.env) as api:
                return parts.is_resumable(await api.get(session_id))
        except SwarmWorkerError:
            return False

    async def translator(self, config: ProviderSessionConfig) -> Translator:
        """Return the translator for a replay."""
        return self.parts().translator(config)

    async def end_remote(
        self,
        config: ProviderSessionConfig,
        translator: Any,
        take: Callable[[Sequence[bytes]], None],
    ) -> None:
        """Take what the session said since, and end it unless it is over (`RemoteSessions`)."""
        if translator.may_run_there:
            await self.parts().end_orphan(config, translator, take, SystemClock())
