"""Variables that commands read besides the worker's own settings."""

from __future__ import annotations

from agent_swarm_worker.settings import SettingsModel, boot
from agent_swarm_worker.settings.kinds import Stripped  # noqa: TC001 - pydantic reads it


class TerminalSettings(SettingsModel):
    """What the terminal can do."""

    # --- the terminal
    term: str = boot("TERM", default="", is_native=True)
    """With ``dumb`` no status line is drawn."""


class EarlyLogSettings(SettingsModel):
    """How to log before the settings are known to be right; nothing is refused here."""

    log_level: Stripped = boot("SWARM_LOG_LEVEL", default="info", is_shared=True)
    log_format: str = boot("SWARM_LOG_FORMAT", default="", is_shared=True)
