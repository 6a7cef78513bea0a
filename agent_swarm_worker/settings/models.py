"""Which model and reasoning effort sessions run with, as far as the operator says."""

from __future__ import annotations

from agent_swarm_worker.settings.base import SettingsModel, live
from agent_swarm_worker.settings.kinds import Stripped  # noqa: TC001 - pydantic reads it

EFFORTS = ("off", "low", "medium", "high", "xhigh", "max")
TIERS = ("smol", "regular", "smart", "ultra")


class ModelSettings(SettingsModel):
    """What `worker.models` chooses from besides the task; the core model documents the fields."""

    model_override: Stripped = live("MODEL_OVERRIDE", default="", is_shared=True)
    reasoning_effort_override: Stripped = live(
        "REASONING_EFFORT_OVERRIDE", default="", is_shared=True
    )
    model_tier_map: str | None = live("MODEL_TIER_MAP", is_shared=True)
    model_tier_smol: Stripped = live("MODEL_TIER_SMOL", default="", is_shared=True)
    model_tier_regular: Stripped = live("MODEL_TIER_REGULAR", default="", is_shared=True)
    model_tier_smart: Stripped = live("MODEL_TIER_SMART", default="", is_shared=True)
    model_tier_ultra: Stripped = live("MODEL_TIER_ULTRA", default="", is_shared=True)

    def of_tier(self, tier: str) -> str:
        """Return the model that the variable of a tier (one of `TIERS`) names; else nothing."""
        return {
            "smol": self.model_tier_smol,
            "regular": self.model_tier_regular,
            "smart": self.model_tier_smart,
            "ultra": self.model_tier_ultra,
        }[tier]
