"""Settings: each variable that the worker reads is declared in the model of its owner.

``docs/configuration.md`` is generated from all models.
"""

from agent_swarm_worker.settings.base import (
    Declaration,
    Effect,
    SettingsModel,
    boot,
    live,
    named,
    operator_only,
    process_env,
)
from agent_swarm_worker.settings.core import (
    EFFORTS,
    TIERS,
    HarnessOptions,
    ModelSettings,
    Settings,
    default_agent_name,
)

__all__ = [
    "EFFORTS",
    "TIERS",
    "Declaration",
    "Effect",
    "HarnessOptions",
    "ModelSettings",
    "Settings",
    "SettingsModel",
    "boot",
    "default_agent_name",
    "live",
    "named",
    "operator_only",
    "process_env",
]
