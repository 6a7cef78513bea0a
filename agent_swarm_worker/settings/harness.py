"""The base of every harness's options."""

from __future__ import annotations

from agent_swarm_worker.settings.base import SettingsModel, live


class HarnessOptions(SettingsModel):
    """Variables of one harness, declared in ``options.py`` of its package.

    They are read from a session's environment, so a configuration row holds from the next session.
    """

    home: str = live("HOME", default="", is_shared=True, is_native=True)
