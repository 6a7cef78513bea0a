"""Chooses the model and the reasoning effort of a task (docs/api.md 15.8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.settings import EFFORTS, TIERS, ModelSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.api.wire.tasks import Task

_LEGACY_TIERS = {"haiku": "smol", "sonnet": "regular", "opus": "smart", "fable": "ultra"}


@dataclass(frozen=True, slots=True)
class RequestedModel:
    """A model and its source, in the form of the report (docs/api.md 3.6)."""

    model: str
    """Empty: the harness's own default."""
    source: str
    effort: str | None


def choose_model(
    task: Task | None, *, tiers: Mapping[str, str], env: Mapping[str, str]
) -> RequestedModel:
    """Return the task's model, else its tier's model, else the agent's override.

    `tiers` has the harness's model of each tier, `env` the variables in force.
    """
    settings = ModelSettings.load(env)
    override = settings.model_override
    own = ((task.model if task else None) or "").strip()
    model = own or resolve_tier(task.model_tier if task else None, tiers=tiers, env=env) or override
    if not model:
        source = "adapter_default"
    elif model == own:
        source = "task"
    elif model == override:
        source = "agent_config"
    else:
        source = "custom"
    effort = (task.effort if task else None) or settings.reasoning_effort_override
    return RequestedModel(model, source, effort if effort in EFFORTS else None)


def resolve_tier(tier: str | None, *, tiers: Mapping[str, str], env: Mapping[str, str]) -> str:
    """Return a tier's model: ``MODEL_TIER_<TIER>``, ``MODEL_TIER_MAP``, or the harness's own."""
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
