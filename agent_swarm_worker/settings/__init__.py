"""Settings: each variable that the worker reads is declared in the model of its owner.

`base` has the base class and the value types, `core` the worker's own model and the base of a
harness's. The other models are beside their users, such as ``providers/<name>/spec.py``.
``docs/configuration.md`` is generated from all of them.
"""

from agent_swarm_worker.settings.base import (
    Declaration,
    Effect,
    SettingsModel,
    boot,
    live,
    named,
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
    "process_env",
]
