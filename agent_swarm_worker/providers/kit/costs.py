"""Add up what a session spent, per model, as tokens and US dollars; look up list prices.

An unknown price is ``None``, never 0, and makes every sum with it unknown: budgets are enforced on
these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import CostData, ModelCost
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.kit.native import count, mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from agent_swarm_worker.contract import ProviderSessionConfig


@dataclass(frozen=True, slots=True)
class Tokens:
    """Counts of one or more model calls. Depending on the harness, `input` includes cached ones."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_5m: int = 0
    """The part of `cache_write` with a lifetime of five minutes; the next, of one hour."""
    cache_write_1h: int = 0
    reasoning: int = 0
    """The part of `output` that is reasoning."""
    thinking: int = 0
    web_searches: int = 0

    @classmethod
    def read(cls, native: Any, names: Mapping[str, tuple[str, ...]]) -> Tokens:
        """Read counts from a native object.

        `names` has the possible keys of each field; the first that holds a count is used.
        """
        usage = mapping(native)
        return cls(
            **{
                name: next((n for key in keys if (n := count(usage.get(key))) is not None), 0)
                for name, keys in names.items()
            }
        )

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(getattr(self, name) + getattr(other, name) for name in _NAMES))

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in _NAMES)

    def since(self, before: Tokens) -> Tokens:
        """Return the growth of a running total; one that shrank was restarted from zero."""
        if self.input < before.input or self.output < before.output:
            return self
        return Tokens(*(max(0, getattr(self, n) - getattr(before, n)) for n in _NAMES))


_NAMES = tuple(field.name for field in fields(Tokens))


@dataclass(slots=True)
class Spent:
    """The use of one model; `usd` is ``None`` if its price is unknown."""

    tokens: Tokens = field(default_factory=Tokens)
    usd: float | None = 0.0

    def __bool__(self) -> bool:
        return bool(self.tokens or self.usd)

    def add(self, tokens: Tokens, usd: float | None) -> None:
        """Add more use; an unknown price makes the sum unknown."""
        self.tokens += tokens
        self.usd = None if usd is None or self.usd is None else self.usd + usd


class CostBook:
    """Adds up the spend of one session.

    A harness reports the cost of each call or result (`add`), or running totals (`grown`).
    """

    def __init__(self) -> None:
        self.models: dict[str, Spent] = {}
        self._totals: dict[Hashable, Tokens] = {}

    def add(self, model: str, tokens: Tokens, usd: float | None) -> None:
        """Add new use of a model and its cost."""
        self.models.setdefault(model, Spent()).add(tokens, usd)

    def begin(self, counter: Hashable, before: Tokens) -> None:
        """Set the value of a running total at the start of this session."""
        self._totals.setdefault(counter, before)

    def grown(self, counter: Hashable, total: Tokens) -> Tokens:
        """Take a running total and return its growth."""
        before, self._totals[counter] = self._totals.get(counter, Tokens()), total
        return total.since(before)

    @property
    def spent(self) -> Spent:
        """The sum over all models."""
        return added_up(self.models)


def added_up(models: Mapping[str, Spent]) -> Spent:
    """Return the sum over some models."""
    total = Spent()
    for spent in models.values():
        total.add(spent.tokens, spent.usd)
    return total


def cost_data(
    config: ProviderSessionConfig,
    models: Mapping[str, Spent],
    /,
    *,
    provider: str,
    model: str,
    is_error: bool,
    counts_searches: bool = False,
    **details: Any,
) -> CostData:
    """Return the spend per model in the form in which it is reported.

    `provider` is the harness as the server knows it. `details` are further fields of `CostData`,
    which override the sums.
    """
    total = added_up(models)
    values: dict[str, Any] = {
        "task_id": config.task_id,
        "agent_id": config.agent_id,
        "total_cost_usd": total.usd,
        "input_tokens": total.tokens.input,
        "output_tokens": total.tokens.output,
        "cache_read_tokens": total.tokens.cache_read,
        "cache_write_tokens": total.tokens.cache_write,
        "models": tuple(
            ModelCost(
                model=name,
                input_tokens=spent.tokens.input,
                output_tokens=spent.tokens.output,
                cache_read_tokens=spent.tokens.cache_read,
                cache_write_tokens=spent.tokens.cache_write,
                web_search_requests=spent.tokens.web_searches if counts_searches else None,
                harness_cost_usd=spent.usd,
            )
            for name, spent in models.items()
        ),
        "model": model,
        "is_error": is_error,
        "provider": provider,
    }
    return CostData(**values | details)


def usd(
    model: str,
    *,
    provider: str | None,
    input_tokens: int,
    cached_tokens: int,
    cache_write_tokens: int,
    output_tokens: int,
) -> float | None:
    """Return the list price of model calls in US dollars, or ``None`` if it is not known.

    It is that of the library ``genai-prices`` (extras ``codex`` and ``pi``); nothing is fetched.
    Some models charge more per token for a long prompt, so calls are best priced one by one.

    Args:
        model: as its vendor names it.
        provider: the vendor (``openai``); ``None`` derives it from the model's name.
        input_tokens: all input, including the next two.
        cached_tokens: input that was read from a cache.
        cache_write_tokens: input that was written to a cache.
        output_tokens: all output, including reasoning.
    """
    calculate = _calculator()
    if calculate is None:
        return None
    try:
        return calculate(
            model,
            provider,
            {
                "input_tokens": input_tokens,
                "cache_read_tokens": cached_tokens,
                "cache_write_tokens": cache_write_tokens,
                "output_tokens": output_tokens,
            },
        )
    except (LookupError, ValueError):  # an unknown model; counts that contradict each other
        _warn_once(model)
        return None


@cache
def _calculator() -> Callable[[str, str | None, dict[str, int]], float] | None:
    """Import the library on first use."""
    try:
        from genai_prices import Usage, calc_price  # noqa: PLC0415 - an optional extra
    except ImportError:
        Log().warning(Event.PRICE_UNKNOWN, why="genai-prices is not installed")
        return None

    def calculate(model: str, provider: str | None, counts: dict[str, int]) -> float:
        return float(calc_price(Usage(**counts), model, provider_id=provider).total_price)

    return calculate


@cache
def _warn_once(model: str) -> None:
    Log().warning(Event.PRICE_UNKNOWN, model=model)
