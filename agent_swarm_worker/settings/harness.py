"""The base of every harness's options, and what holds for harnesses of any name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.settings.base import SettingsModel, live, named

if TYPE_CHECKING:
    from collections.abc import Mapping


class HarnessOptions(SettingsModel):
    """Variables of one harness, declared in ``options.py`` of its package.

    They are read from a session's environment, so a configuration row holds from the next session.
    """

    home: str = live("HOME", default="", is_shared=True, is_native=True)


def skills_dir(harness: str, env: Mapping[str, str]) -> Path | None:
    """Return ``<HARNESS>_SKILLS_DIR``: a harness's folder of commands, if it is not the usual one.

    Args:
        harness: its name; a dash in it is an underscore in the variable.
        env: the session's environment.
    """
    folder = named(env, f"{harness.upper().replace('-', '_')}_SKILLS_DIR").strip()
    return Path(folder) if folder else None
