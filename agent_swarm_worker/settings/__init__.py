"""Floor 2: settings. Every variable the worker reads is declared in one model of its owner.

`base` has what the models share, `core` the worker's own model, `harness` the base of a harness's.
The other models are beside their owners: ``providers/<name>/options.py`` and modules that are
called ``settings.py``. ``docs/configuration.md`` is generated from all of them.
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
