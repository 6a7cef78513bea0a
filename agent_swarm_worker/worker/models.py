"""Which model and effort a task runs with (docs/api.md 15.8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.settings import EFFORTS, TIERS, ModelSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEGACY_TIERS = {"haiku": "smol", "sonnet": "regular", "opus": "smart", "fable": "ultra"}


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model with the reason for it, as the server wants it reported (docs/api.md 3.6)."""

    model: str
    """Empty: the harness's own default."""
    source: str
    effort: str | None


def choose_model(
    *,
    tiers: Mapping[str, str],
    env: Mapping[str, str],
    task_model: str | None,
    task_tier: str | None,
    task_effort: str | None,
) -> ModelChoice:
    """The task's model, else its tier's model, else the agent's override.

    Args:
        tiers: the models that the harness declares for the tiers.
        env: the variables in force.
        task_model: what the task asks for.
        task_tier: the tier it asks for.
        task_effort: the reasoning effort it asks for.
    """
    settings = ModelSettings.load(env)
    override = settings.model_override
    wanted = (task_model or "").strip() or resolve_tier(task_tier, tiers=tiers, env=env)
    model = wanted or override
    if not model:
        source = "adapter_default"
    elif model == (task_model or "").strip():
        source = "task"
    elif model == override:
        source = "agent_config"
    else:
        source = "custom"
    effort = task_effort or settings.reasoning_effort_override
    return ModelChoice(model, source, effort if effort in EFFORTS else None)


def resolve_tier(tier: str | None, *, tiers: Mapping[str, str], env: Mapping[str, str]) -> str:
    """The model of a tier: by ``MODEL_TIER_<TIER>``, ``MODEL_TIER_MAP``, or the harness's own."""
    name = _LEGACY_TIERS.get((tier or "").strip().lower(), (tier or "").strip().lower())
    if name not in TIERS:
        return ""
    settings = ModelSettings.load(env)
    own = settings.of_tier(name)
    return own or _from_map(settings.model_tier_map, name) or tiers.get(name, "")


def _from_map(text: str | None, tier: str) -> str:
    try:
        table = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return ""
    model = table.get(tier) if isinstance(table, dict) else None
    return model.strip() if isinstance(model, str) else ""
