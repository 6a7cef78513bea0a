from __future__ import annotations

from agent_swarm_worker.contract import CostData, ModelCost
from agent_swarm_worker.reporting.finish import LatestCost


def kept(*costs):
    latest = LatestCost()
    for cost in costs:
        latest.add(cost)
    return latest.cost


def test_the_last_running_total_counts():
    first = CostData(total_cost_usd=0.5, input_tokens=10)
    second = CostData(total_cost_usd=1.5, input_tokens=30)
    assert kept(first, second) == second


def test_a_zeroed_error_does_not_wipe_out_the_real_cost():
    real = CostData(total_cost_usd=1.5, input_tokens=10, output_tokens=5)
    zeroed = CostData(
        total_cost_usd=0.0, input_tokens=0, output_tokens=0, cache_read_tokens=0, is_error=True
    )
    assert kept(real, zeroed) == real
    assert kept(real, CostData()) == real
    assert kept(real, None) == real


def test_a_price_outlives_a_later_total_without_one():
    cost = kept(
        CostData(total_cost_usd=1.5, input_tokens=10), CostData(total_cost_usd=0, input_tokens=40)
    )
    assert (cost.total_cost_usd, cost.input_tokens) == (1.5, 40)


def test_tokens_without_a_price_are_a_cost():
    share = ModelCost(
        model="m", input_tokens=1, output_tokens=1, cache_read_tokens=0, cache_write_tokens=0
    )
    for cost in (CostData(cache_read_tokens=5), CostData(models=(share,))):
        assert kept(cost, CostData(total_cost_usd=0)) == cost


def test_really_nothing_is_still_a_cost():
    assert kept(CostData(total_cost_usd=0.0)) == CostData(total_cost_usd=0.0)
    assert kept() is None
