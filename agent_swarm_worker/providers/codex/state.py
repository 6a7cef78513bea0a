"""Hold the choices for a session (`Plan`), its costs, and the state of its translation.

Both transports share the state. The CLI reports totals since the start of a thread, so only their
growth is the spend of this session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from agent_swarm_worker.contract import (
    ContextUsage,
    Error,
    Helper,
    Progress,
    ProviderEvent,
    SessionInit,
)
from agent_swarm_worker.providers.codex.outcome import NETWORK, STALE_SESSION, is_retry_notice
from agent_swarm_worker.providers.codex.spec import NETWORK_TIMEOUT_S
from agent_swarm_worker.providers.kit import costs
from agent_swarm_worker.providers.kit.costs import Tokens, cost_data

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePath

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import CostData, ProviderSessionConfig
    from agent_swarm_worker.providers.codex.credentials import Credential
    from agent_swarm_worker.providers.codex.spec import Transport
    from agent_swarm_worker.providers.kit.outcome import LimitWindows


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The choices for one session that its configuration file, launch and translation share."""

    transport: Transport
    model: str
    effort: str | None
    """The effort by the CLI's name for it; ``None`` leaves it to the model."""
    applied_effort: str | None = None
    """The same by the worker's name for it."""
    home: PurePath
    """The session's own ``CODEX_HOME``."""
    credential: Credential
    uses_agents_md: bool = False
    network_timeout_s: float = NETWORK_TIMEOUT_S
    """How long the CLI may only retry to reach the model API."""
    used_before: Tokens = field(default_factory=Tokens)
    changed_system_prompt: str = ""
    """Set if a resumed thread was started with other instructions, which it keeps."""


VENDOR = "openai"
_NAMES = {
    "input": ("inputTokens", "input_tokens"),
    "output": ("outputTokens", "output_tokens"),
    "cache_read": ("cachedInputTokens", "cached_input_tokens"),
    "cache_write": ("cacheWriteInputTokens", "cache_write_input_tokens"),
    "reasoning": ("reasoningOutputTokens", "reasoning_output_tokens"),
}


def read_tokens(native: Any) -> Tokens:
    """Read the usage object of either transport; `input` includes the cached tokens."""
    return Tokens.read(native, _NAMES)


class CostBook(costs.CostBook):
    """Adds up the spend of one process: of its thread and those of its subagents."""

    turns = 0

    def take_total(self, thread_id: str, total: Tokens, model: str) -> Tokens:
        """Take a thread's total; its growth is priced as one call and returned."""
        grown = self.grown(thread_id, total)
        usd: float | None = 0.0
        if grown:
            usd = costs.usd(
                model,
                provider=VENDOR,
                input_tokens=grown.input,
                cached_tokens=grown.cache_read,
                cache_write_tokens=grown.cache_write,
                output_tokens=grown.output,
            )
        self.add(model, grown, usd)
        return grown

    def cost(self, config: ProviderSessionConfig, *, model: str, is_error: bool) -> CostData | None:
        """Return the spend so far, or ``None`` if the CLI has reported none."""
        if not self.models:
            return None
        return cost_data(
            config,
            self.models,
            provider="codex",
            model=model,
            is_error=is_error,
            reasoning_output_tokens=self.spent.tokens.reasoning,
            num_turns=self.turns or None,
            models=(),
        )


@dataclass(slots=True, kw_only=True)
class TranslationState:
    """The state of a translation: the translators write it, `outcome` reads it."""

    config: ProviderSessionConfig
    plan: Plan
    clock: Clock
    limits: LimitWindows
    costs: CostBook = field(default_factory=CostBook)
    thread_id: str | None = None
    model: str = ""
    window: int | None = None
    """Context window of the model in tokens."""
    context_used: int = 0
    last_text: str = ""
    last_error: Error | None = None
    """The last error, retried ones included; cleared by any other output."""
    fatal: Error | None = None
    """The error that ended the session."""
    turn: Literal["none", "running", "completed", "failed", "interrupted"] = "none"
    is_final: bool = False
    unanswered: str = ""
    """The essential request that the CLI left unanswered at its end."""
    version: str = ""
    _retrying_since_s: float | None = None
    _helpers: dict[str, Helper] = field(default_factory=dict)

    def helper(self, thread_id: str) -> Helper | None:
        """Return the subagent of a thread, which the CLI does not name; ``None`` for ours."""
        if thread_id in {"", self.thread_id}:
            return None
        known = self._helpers.get(thread_id)
        if known is None:
            known = Helper(thread_id, f"helper {len(self._helpers) + 1}")
            self._helpers[thread_id] = known
        return known

    def begin_thread(self, thread_id: str, model: str) -> Iterator[ProviderEvent]:
        """Record the thread; end the session if another one was requested."""
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

    def clear_retry(self) -> None:
        """Forget the last error and retries: the CLI has reported something else."""
        self._retrying_since_s = None
        self.last_error = None

    def take_error(self, error: Error, *, is_retried: bool) -> Iterator[ProviderEvent]:
        """Take an error; after `network_timeout_s` of retries, which the CLI never ends, end it."""
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
            timeout = Error(f"no answer for {waited_s:.0f} s: {error.message}", NETWORK)
            self.end(timeout)
            yield timeout

    def end(self, error: Error) -> None:
        """End the session with this error; the first one counts."""
        self.fatal = self.fatal or error
        self.turn = "failed"
        self.is_final = True

    def take_context(self, last: Tokens, formula: str) -> ContextUsage:
        """Record the use of the context, and return the event."""
        self.context_used = used = last.input + last.output
        percent = min(100.0, used / self.window * 100) if self.window else None
        return ContextUsage(used, self.window, percent, last.output, formula)

    def cost(self, *, is_error: bool) -> CostData | None:
        """Return the spend so far."""
        return self.costs.cost(self.config, model=self.model, is_error=is_error)
