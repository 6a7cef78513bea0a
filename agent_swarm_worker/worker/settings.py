"""The variable that chooses the harness."""

from __future__ import annotations

from agent_swarm_worker.settings import SettingsModel, live
from agent_swarm_worker.settings.kinds import Stripped  # noqa: TC001 - pydantic reads it


class HarnessChoice(SettingsModel):
    """What the operator, or a configuration row, wishes (docs/api.md 3.10)."""

    provider: Stripped = live("HARNESS_PROVIDER", default="", is_shared=True)
