"""Chooses the harness: at boot, and for new sessions when the configuration changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.errors import SwarmWorkerError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import (
    DEFAULT_HARNESS,
    adapter_spec,
    create_provider,
    known_specs,
    spec_of,
)
from agent_swarm_worker.settings import SettingsModel, live, named
from agent_swarm_worker.settings.base import Stripped  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import HarnessSpec, ProviderAdapter
    from agent_swarm_worker.logs import Log


class Harness:
    """The adapter for new sessions; running sessions keep the one they started with."""

    def __init__(self, env: Mapping[str, str], *, log: Log) -> None:
        """Choose the harness.

        Raises:
            UnknownProvider: ``HARNESS_PROVIDER`` names none that is installed.
        """
        self._log = log
        self._refused: str | None = None
        self.adapter: ProviderAdapter = create_provider(harness_name(env))
        self.all_specs = known_specs()
        """Of every installed harness: their credentials are withheld, their skills installed."""

    @property
    def name(self) -> str:
        """The true name of the harness."""
        return self.adapter.name

    @property
    def spec(self) -> HarnessSpec:
        """Its specification."""
        return adapter_spec(self.adapter)

    def follow(self, env: Mapping[str, str]) -> bool:
        """Switch to the harness that `env` names; true if it changed."""
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


def server_names(spec: HarnessSpec) -> tuple[str, ...]:
    """Return the names to send to the server, the best first; it accepts the last."""
    return (*spec.server_names, DEFAULT_HARNESS)


def harness_name(env: Mapping[str, str]) -> str:
    """Return ``HARNESS_PROVIDER``, else the harness of the credentials (docs/api.md 3.10)."""
    wanted = HarnessChoice.load(env).provider
    if wanted:
        return wanted
    if any(named(env, name) for name in spec_of(DEFAULT_HARNESS).credentials.variables):
        return DEFAULT_HARNESS
    suggested = (
        spec.name
        for spec in known_specs()
        if any(named(env, name) for name in spec.credentials.chosen_by)
    )
    return next(suggested, DEFAULT_HARNESS)


class HarnessChoice(SettingsModel):
    """The variable that names the harness (docs/api.md 3.10)."""

    provider: Stripped = live("HARNESS_PROVIDER", default="", is_shared=True)
