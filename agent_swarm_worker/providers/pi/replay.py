"""Reading the journal of a session again, whose worker was killed.

What the requests cost is counted from the turns that are on record. A price that the service itself
had named is not, so the price list has to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.providers.pi.costs import CostBook
from agent_swarm_worker.providers.pi.native import usage_of
from agent_swarm_worker.providers.pi.translate import PiTranslator

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from agent_swarm_worker.contract import ProviderEvent, ProviderResult, ProviderSessionConfig
    from agent_swarm_worker.providers.kit.launch import Ending
    from agent_swarm_worker.providers.pi.models import ModelChoice


class PiReplay(PiTranslator):
    """A translator that counts what it reads."""

    def __init__(self, config: ProviderSessionConfig, choice: ModelChoice) -> None:
        self._replayed = CostBook(choice)
        super().__init__(config, self._replayed)

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Take one record."""
        if native["type"] == "assistant":
            self._replayed.count(native["message"]["model"], usage_of(native["message"]))
        return super().feed(native)

    def conclude(self, ending: Ending) -> ProviderResult:
        """Say how the session went; it may have been cut off in the middle."""
        if not self.is_final:
            self._cost = self._replayed.cost(self._config, is_error=True, duration_ms=0)
        return super().conclude(ending)
