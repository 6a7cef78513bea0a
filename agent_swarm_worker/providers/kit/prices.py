"""What tokens cost, for harnesses that do not name their price.

The prices are those bundled with the library ``genai-prices`` (extras ``codex`` and ``pi``);
nothing is fetched. An unknown price is ``None``, never 0: budgets are enforced on these numbers.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable


def usd(
    model: str,
    *,
    provider: str | None,
    input_tokens: int,
    cached_tokens: int,
    cache_write_tokens: int,
    output_tokens: int,
) -> float | None:
    """Return the price of some model calls in US dollars, or ``None`` if it is not known.

    Some models charge more per token for a long prompt, so calls are best priced one by one.

    Args:
        model: the model as its vendor names it.
        provider: the vendor (``openai``); ``None`` lets the model's name tell.
        input_tokens: everything that was read, the next two included.
        cached_tokens: what was read from a cache.
        cache_write_tokens: what was written to a cache.
        output_tokens: everything that was written, reasoning included.
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
    """Import the library at first need; without it, prices are unknown."""
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
