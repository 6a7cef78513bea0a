"""What the output of one CLI process has said so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.claude.cost import CostBook
from agent_swarm_worker.providers.kit.native import count

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import CostData, Error, ProviderSessionConfig
    from agent_swarm_worker.providers.kit.limits import LimitWindows


@dataclass(slots=True, kw_only=True)
class TranslationState:
    """The state of a translation; its parts write it, `outcome` reads it."""

    config: ProviderSessionConfig
    clock: Clock
    limits: LimitWindows
    costs: CostBook = field(default_factory=CostBook)
    session_id: str | None = None
    model: str = ""
    window: int | None = None
    """Tokens the main model's context holds."""
    result: dict[str, Any] | None = None
    """The last result event."""
    last_text: str = ""
    """The main agent's last words."""
    last_error: Error | None = None
    """The model API's last error, if it has not answered since; a retried one included."""
    model_spoke: bool = False
    cli_spoke: bool = False
    """The CLI answered in the model's place."""
    local_command: str = ""
    """A command of the CLI's own that took the prompt, so that no model saw it."""
    last_message_id: str = ""
    tools: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Name and arguments of each tool that has not answered yet, by the id of the call."""

    turn_is_over: bool = False
    background_tasks: int = 0
    wakeup_is_set: bool = False

    @property
    def is_final(self) -> bool:
        """True when the last turn is over and nothing is under way that would start another."""
        if self.result is None or not self.turn_is_over:
            return False
        waits = (
            self.background_tasks
            or self.wakeup_is_set
            or count(self.result.get("queued_turn_count"))
        )
        return not waits

    @property
    def waits_for_background(self) -> bool:
        """True when only a background task, which may never end, would start another turn."""
        return self.turn_is_over and bool(self.background_tasks) and not self.wakeup_is_set

    def cost(self, *, is_error: bool) -> CostData | None:
        """Return the spend so far."""
        return self.costs.cost(self.config, model=self.model, is_error=is_error)
