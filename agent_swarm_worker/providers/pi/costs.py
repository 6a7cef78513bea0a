"""What a session used and cost, request by request.

Token counts are kept apart: `input_tokens` does not contain what came from a cache or went into
one. A price nobody knows makes the sum unknown, never smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent_swarm_worker.contract import CostData, ModelCost

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.pi.models import ModelChoice


_PRICED_AS = {"amazon-bedrock": "aws"}


@dataclass(slots=True)
class Usage:
    """The tokens of one request, or of many."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0

    @property
    def context(self) -> int:
        """Tokens that the conversation fills after this request."""
        return self.input + self.cache_read + self.cache_write + self.output

    def add(self, other: Usage) -> None:
        """Count another request in."""
        self.input += other.input
        self.output += other.output
        self.cache_read += other.cache_read
        self.cache_write += other.cache_write
        self.cache_write_1h += other.cache_write_1h
        self.reasoning += other.reasoning


@dataclass(slots=True)
class _Spent:
    usage: Usage = field(default_factory=Usage)
    usd: float | None = 0.0


class CostBook:
    """Keeps the accounts of one session."""

    def __init__(self, choice: ModelChoice) -> None:
        self._choice = choice
        self._models: dict[str, _Spent] = {}
        self.requests = 0
        self.spent_usd = 0.0
        """What is known to be spent; a lower bound where a price is unknown."""

    def add(self, model: str | None, usage: Usage, *, reported_usd: float | None = None) -> None:
        """Count one request.

        Args:
            model: the model that answered, as the service names it.
            usage: its tokens.
            reported_usd: its cost, if the service says.
        """
        self.requests += 1
        name = model or self._choice.model
        usd = self._usd(name, usage) if reported_usd is None else reported_usd
        spent = self._models.setdefault(name, _Spent())
        spent.usage.add(usage)
        spent.usd = None if usd is None or spent.usd is None else spent.usd + usd
        self.spent_usd += usd or 0.0

    def cost(
        self, config: ProviderSessionConfig, *, is_error: bool, duration_ms: int
    ) -> CostData | None:
        """Return the spend so far; ``None`` if no model was asked anything."""
        if not self.requests:
            return None
        total = Usage()
        for spent in self._models.values():
            total.add(spent.usage)
        prices = [spent.usd for spent in self._models.values()]
        known = [usd for usd in prices if usd is not None]
        is_anthropic = self._choice.api == "anthropic-messages"
        long = total.cache_write_1h
        return CostData(
            task_id=config.task_id,
            agent_id=config.agent_id,
            total_cost_usd=sum(known) if len(known) == len(prices) else None,
            input_tokens=total.input,
            output_tokens=total.output,
            cache_read_tokens=total.cache_read,
            cache_write_tokens=total.cache_write,
            cache_write_5m_tokens=total.cache_write - long if is_anthropic else None,
            cache_write_1h_tokens=long if is_anthropic else None,
            reasoning_output_tokens=total.reasoning or None,
            models=tuple(self._share(name, spent) for name, spent in self._models.items()),
            duration_ms=duration_ms,
            num_turns=self.requests,
            model=self._choice.name,
            is_error=is_error,
            provider="pi",
        )

    def _share(self, name: str, spent: _Spent) -> ModelCost:
        return ModelCost(
            model=f"{self._choice.provider}/{name}",
            input_tokens=spent.usage.input,
            output_tokens=spent.usage.output,
            cache_read_tokens=spent.usage.cache_read,
            cache_write_tokens=spent.usage.cache_write,
            harness_cost_usd=spent.usd,
        )

    def _usd(self, model: str, usage: Usage) -> float | None:
        price = self._choice.price
        if price is not None:
            millionths = (
                usage.input * price.input
                + usage.output * price.output
                + usage.cache_read * price.cache_read
                + usage.cache_write * price.cache_write
            )
            return millionths / 1_000_000
        return _list_price(model, self._choice, usage)


def _list_price(model: str, choice: ModelChoice, usage: Usage) -> float | None:
    from agent_swarm_worker.providers.kit.prices import usd  # noqa: PLC0415 - brings heavy data

    return usd(
        model,
        provider=_PRICED_AS.get(choice.provider, choice.provider),
        input_tokens=usage.input + usage.cache_read + usage.cache_write,
        cached_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        output_tokens=usage.output,
    )
