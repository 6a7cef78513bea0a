"""What a session used. The CLI counts a thread from its first day, so only growth is new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.kit import costs, prices
from agent_swarm_worker.providers.kit.costs import Tokens, cost_data

if TYPE_CHECKING:
    from agent_swarm_worker.contract import CostData, ProviderSessionConfig

VENDOR = "openai"
_NAMES = {
    "input": ("inputTokens", "input_tokens"),
    "output": ("outputTokens", "output_tokens"),
    "cache_read": ("cachedInputTokens", "cached_input_tokens"),
    "cache_write": ("cacheWriteInputTokens", "cache_write_input_tokens"),
    "reasoning": ("reasoningOutputTokens", "reasoning_output_tokens"),
}


def read_tokens(native: Any) -> Tokens:
    """Take the counts from either transport's usage; cached tokens are part of the input."""
    return Tokens.read(native, _NAMES)


class CostBook(costs.CostBook):
    """Keeps the accounts of one process: its thread, and those of the helpers it starts."""

    turns = 0

    def take_total(self, thread_id: str, total: Tokens, model: str) -> Tokens:
        """Take a thread's total: what it grew by is one call's worth, and priced as one."""
        grown = self.grown(thread_id, total)
        usd: float | None = 0.0
        if grown:
            usd = prices.usd(
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
