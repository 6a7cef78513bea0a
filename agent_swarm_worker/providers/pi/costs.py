"""Sum up the tokens and the cost of a session.

Input tokens do not include those read from or written to a cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.providers.kit import costs

if TYPE_CHECKING:
    from agent_swarm_worker.contract import CostData, ProviderSessionConfig
    from agent_swarm_worker.providers.kit.costs import Tokens
    from agent_swarm_worker.providers.pi.models import ModelChoice

_PRICED_AS = {"amazon-bedrock": "aws"}


class CostBook(costs.CostBook):
    """Sums up the requests of one session."""

    def __init__(self, choice: ModelChoice) -> None:
        super().__init__()
        self._choice = choice
        self.requests = 0
        self.spent_usd = 0.0
        """Known cost so far; a lower bound if a price is unknown."""

    def count(self, model: str | None, usage: Tokens, *, reported_usd: float | None = None) -> None:
        """Add one request: the model that answered, and its cost if the service reports it."""
        self.requests += 1
        name = model or self._choice.model
        usd = self._usd(name, usage) if reported_usd is None else reported_usd
        self.add(f"{self._choice.provider}/{name}", usage, usd)
        self.spent_usd += usd or 0.0

    def cost(
        self, config: ProviderSessionConfig, *, is_error: bool, duration_ms: int
    ) -> CostData | None:
        """Return the cost so far; ``None`` if there was no request."""
        if not self.requests:
            return None
        total = self.spent.tokens
        is_anthropic = self._choice.api == "anthropic-messages"
        long = total.cache_write_1h
        return costs.cost_data(
            config,
            self.models,
            provider="pi",
            model=self._choice.name,
            is_error=is_error,
            cache_write_5m_tokens=total.cache_write - long if is_anthropic else None,
            cache_write_1h_tokens=long if is_anthropic else None,
            reasoning_output_tokens=total.reasoning or None,
            duration_ms=duration_ms,
            num_turns=self.requests,
        )

    def _usd(self, model: str, usage: Tokens) -> float | None:
        price = self._choice.price
        if price is not None:
            millionths = (
                usage.input * price.input
                + usage.output * price.output
                + usage.cache_read * price.cache_read
                + usage.cache_write * price.cache_write
            )
            return millionths / 1_000_000
        provider = self._choice.provider
        return costs.usd(
            model,
            provider=_PRICED_AS.get(provider, provider),
            input_tokens=usage.input + usage.cache_read + usage.cache_write,
            cached_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
            output_tokens=usage.output,
        )
