"""The base of translators for a harness that prints JSON lines and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.contract import ProviderEvent


class JsonTranslator:
    """Passes over lines that are not JSON, and over standard error.

    Both are in the journal all the same, and the end of standard error is in `Ending`.
    """

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip a line that is not JSON."""
        return ()

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip a line of standard error."""
        return ()
