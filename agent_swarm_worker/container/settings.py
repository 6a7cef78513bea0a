"""Variables of the start of a container."""

from __future__ import annotations

from agent_swarm_worker.settings import SettingsModel, boot
from agent_swarm_worker.settings.kinds import Flag  # noqa: TC001 - pydantic reads it


class ContainerSettings(SettingsModel):
    """What is read besides the worker's own settings."""

    # --- the start of a container
    startup_script_strict: Flag = boot("STARTUP_SCRIPT_STRICT", default=False)
    """A set-up script that fails ends the start, with the script's exit code."""
    api_ready_timeout: str = boot(
        "WORKER_API_READY_TIMEOUT_SECONDS", default="", keeps_blank=True, is_shared=True
    )
    """As it was given: `readiness` says in its own words what is wrong with it."""
