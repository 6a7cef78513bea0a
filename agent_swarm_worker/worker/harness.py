"""The harness in use: chosen at boot, swapped for new sessions when the configuration says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.errors import SwarmWorkerError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import create_provider, supported_providers
from agent_swarm_worker.worker.settings import HarnessChoice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import ProviderAdapter
    from agent_swarm_worker.logs import Log

SERVER_KNOWS = frozenset({"claude", "codex", "pi", "devin", "claude-managed", "opencode"})
"""Harness names the server accepts (API reference A.4); it answers 400 to any other."""


class Harness:
    """Holds the adapter for new sessions; running ones keep the one they started with."""

    def __init__(self, env: Mapping[str, str], *, log: Log) -> None:
        """Choose the harness.

        Raises:
            UnknownProvider: ``HARNESS_PROVIDER`` names none that is installed.
        """
        self._log = log
        self._refused: str | None = None
        self.adapter: ProviderAdapter = create_provider(harness_name(env))

    @property
    def name(self) -> str:
        """The true name of the harness."""
        return self.adapter.name

    @property
    def wire_name(self) -> str:
        """The name to register under: its own, or the nearest one the server accepts."""
        return wire_name(self.adapter)

    def follow(self, env: Mapping[str, str]) -> bool:
        """Swap to what `env` asks for; true if the harness changed."""
        wanted = harness_name(env)
        if wanted in (self.name, self._refused):
            return False
        try:
            adapter = create_provider(wanted)
        except (SwarmWorkerError, ImportError) as error:
            self._refused = wanted
            self._log.warning(Event.CONFIG_IGNORED, key="HARNESS_PROVIDER", why=str(error))
            return False
        self._refused = None
        self._log.info(Event.CONFIG_CHANGED, key="HARNESS_PROVIDER", old=self.name, new=wanted)
        self.adapter = adapter
        return True


def wire_name(adapter: ProviderAdapter) -> str:
    """Return the name the server is told."""
    nearest = adapter.traits.wire_name or adapter.name
    return nearest if nearest in SERVER_KNOWS else "claude"


def harness_name(env: Mapping[str, str]) -> str:
    """``HARNESS_PROVIDER``, else what the credentials suggest (API reference 1.2, step 3)."""
    choice = HarnessChoice.load(env)
    if choice.provider:
        return choice.provider
    return "pi" if choice.has_only_openrouter and "pi" in supported_providers() else "claude"
