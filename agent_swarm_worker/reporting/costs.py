"""What a session cost, told exactly once."""

from __future__ import annotations

from dataclasses import replace

from agent_swarm_worker.contract import CostData


class CostKeeper:
    """Keeps the best of the cumulative costs a session reports.

    Harnesses report the running total again and again, and an error at the end often comes with
    one that is all zero. That must not wipe out the real one: budgets are enforced on it.
    """

    def __init__(self) -> None:
        self._kept: CostData | None = None

    def note(self, cost: CostData | None) -> None:
        """Take one cumulative cost; what is not one is passed over."""
        if isinstance(cost, CostData) and (self._kept is None or not _is_empty(cost)):
            self._kept = _keep_price(self._kept, cost)

    @property
    def cost(self) -> CostData | None:
        """The cost to report, if any was ever given."""
        return self._kept


def _keep_price(before: CostData | None, now: CostData) -> CostData:
    """A running total does not fall back to nothing, so an earlier price outlives a missing one."""
    if before is not None and before.total_cost_usd and not now.total_cost_usd:
        return replace(now, total_cost_usd=before.total_cost_usd)
    return now


def _is_empty(cost: CostData) -> bool:
    return not (
        cost.total_cost_usd
        or cost.input_tokens
        or cost.output_tokens
        or cost.cache_read_tokens
        or cost.cache_write_tokens
        or cost.models
    )
