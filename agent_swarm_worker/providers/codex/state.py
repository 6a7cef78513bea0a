"""What one CLI process has said so far, whichever way it says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from agent_swarm_worker.contract import ContextUsage, Error, Progress, ProviderEvent, SessionInit
from agent_swarm_worker.providers.codex.errors import NETWORK, STALE_SESSION, is_retry_notice
from agent_swarm_worker.providers.codex.usage import CostBook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import CostData, ProviderSessionConfig
    from agent_swarm_worker.providers.codex.plan import Plan
    from agent_swarm_worker.providers.kit.costs import Tokens
    from agent_swarm_worker.providers.kit.limits import LimitWindows


@dataclass(slots=True, kw_only=True)
class TranslationState:
    """The state of a translation; its parts write it, `outcome` reads it."""

    config: ProviderSessionConfig
    plan: Plan
    clock: Clock
    limits: LimitWindows
    costs: CostBook = field(default_factory=CostBook)
    thread_id: str | None = None
    model: str = ""
    window: int | None = None
    """Tokens the model's context holds."""
    context_used: int = 0
    last_text: str = ""
    last_error: Error | None = None
    """The last error, a retried one included; gone once the CLI gets on."""
    fatal: Error | None = None
    """What ended the session."""
    turn: Literal["none", "running", "completed", "failed", "interrupted"] = "none"
    is_final: bool = False
    unanswered: str = ""
    """The request that the CLI ended without answering, if the session could not go on for it."""
    version: str = ""
    _retrying_since_s: float | None = None

    def begin_thread(self, thread_id: str, model: str) -> Iterator[ProviderEvent]:
        """Note which thread this is; one that was not asked for is the end."""
        self.thread_id = thread_id
        self.model = model or self.model
        asked = self.config.resume_session_id
        if asked is not None and asked.lower() != thread_id.lower():
            self.end(Error(f"asked for thread {asked}, got {thread_id}", STALE_SESSION))
            return
        self.costs.begin(thread_id, self.plan.used_before)
        meta = {"transport": self.plan.transport}
        yield SessionInit(
            thread_id,
            provider="codex",
            harness_variant="stock",
            harness_variant_meta=meta | ({"version": self.version} if self.version else {}),
            model=self.model or None,
        )

    def got_on(self) -> None:
        """The CLI did something else than trying again."""
        self._retrying_since_s = None
        self.last_error = None

    def take_error(self, error: Error, *, is_retried: bool) -> Iterator[ProviderEvent]:
        """Take an error; of mere retries there is an end, which the CLI itself does not know."""
        self.last_error = error
        if not is_retried and not is_retry_notice(error.message):
            yield error
            return
        now_s = self.clock.monotonic()
        if self._retrying_since_s is None:
            self._retrying_since_s = now_s
        yield Progress(error.message)
        waited_s = now_s - self._retrying_since_s
        if waited_s >= self.plan.network_timeout_s and not self.is_final:
            said = f"no answer for {waited_s:.0f} s: {error.message}"
            gave_up = Error(said, NETWORK)
            self.end(gave_up)
            yield gave_up

    def end(self, error: Error) -> None:
        """Nothing more is expected, since this went wrong."""
        self.fatal = self.fatal or error
        self.turn = "failed"
        self.is_final = True

    def take_context(self, last: Tokens, formula: str) -> ContextUsage:
        """Note how full the context is."""
        self.context_used = used = last.input + last.output
        percent = min(100.0, used / self.window * 100) if self.window else None
        return ContextUsage(used, self.window, percent, last.output, formula)

    def cost(self, *, is_error: bool) -> CostData | None:
        """Return the spend so far."""
        return self.costs.cost(self.config, model=self.model, is_error=is_error)
