"""Which model and effort a task runs with (API reference section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.settings import EFFORTS, TIERS, ModelSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEGACY_TIERS = {"haiku": "smol", "sonnet": "regular", "opus": "smart", "fable": "ultra"}

_PI_TIERS = {
    "smol": "openrouter/deepseek/deepseek-v4-flash",
    "regular": "openrouter/deepseek/deepseek-v4-flash",
    "smart": "openrouter/deepseek/deepseek-v4-pro",
    "ultra": "openrouter/anthropic/claude-opus-4.8",
}
_BUILT_IN_TIERS: dict[str, dict[str, str]] = {
    "claude": {"smol": "haiku", "regular": "sonnet", "smart": "opus", "ultra": "fable"},
    "codex": {
        "smol": "gpt-5.6-luna",
        "regular": "gpt-5.6-terra",
        "smart": "gpt-5.6-sol",
        "ultra": "gpt-5.6-sol",
    },
    "pi": _PI_TIERS,
    "opencode": _PI_TIERS,
}


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model with the reason for it, as the server wants it reported (API reference A.3)."""

    model: str
    """Empty: the harness's own default."""
    source: str
    effort: str | None


def choose_model(
    *,
    harness: str,
    env: Mapping[str, str],
    task_model: str | None,
    task_tier: str | None,
    task_effort: str | None,
) -> ModelChoice:
    """The task's model, else its tier's model for this harness, else the agent's override."""
    settings = ModelSettings.load(env)
    override = settings.model_override
    wanted = (task_model or "").strip() or resolve_tier(task_tier, harness=harness, env=env)
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


def resolve_tier(tier: str | None, *, harness: str, env: Mapping[str, str]) -> str:
    """The model of a tier: by ``MODEL_TIER_<TIER>``, ``MODEL_TIER_MAP``, or the built-in table."""
    name = _LEGACY_TIERS.get((tier or "").strip().lower(), (tier or "").strip().lower())
    if name not in TIERS:
        return ""
    settings = ModelSettings.load(env)
    return (
        settings.of_tier(name)
        or _from_map(settings.model_tier_map, name)
        or _BUILT_IN_TIERS.get(harness, {}).get(name, "")
    )


def _from_map(text: str | None, tier: str) -> str:
    try:
        table = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return ""
    model = table.get(tier) if isinstance(table, dict) else None
    return model.strip() if isinstance(model, str) else ""
