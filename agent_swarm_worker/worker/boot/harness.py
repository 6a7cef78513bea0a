"""Chooses the harness: at boot, and for new sessions when the configuration changes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import BadSetting, ConfigError, SwarmWorkerError
from agent_swarm_worker.harness_profiles.names import (
    VARIABLE,
    HarnessProfile,
    HarnessProfileSettings,
    ProfileName,
    check_choice,
    chosen_name,
)
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
    from agent_swarm_worker.harness_profiles.profiles import ProfileStore
    from agent_swarm_worker.logs import Log


HARNESS_PROFILE_KEY = "harnessProfile"
"""The name of the harness profile in the first record of a journal."""


class Harness:
    """The adapter for new sessions; running sessions keep the one they started with."""

    def __init__(self, env: Mapping[str, str], *, log: Log) -> None:
        """Choose the harness.

        Raises:
            UnknownProvider: ``HARNESS_PROVIDER`` names none that is installed.
            BadHarnessProfiles: the files of harness profiles cannot be used.
            BadSetting: ``HARNESS_PROFILE`` cannot be used.
        """
        self._log, self._env = log, env
        self._refused: str | None = None
        self.adapter: ProviderAdapter = create_provider(harness_name(env))
        self.all_specs = known_specs()
        """Of every installed harness: their credentials are withheld, their skills installed."""
        settings = HarnessProfileSettings.load(env)
        self.profile = HarnessProfile(name=ProfileName(self.name))
        """Of the worker's own choice, as it was read for the last session."""
        if settings.file or settings.profile:
            self.own_profile()

    @property
    def name(self) -> str:
        """The true name of the harness."""
        return self.adapter.name

    @property
    def spec(self) -> HarnessSpec:
        """Its specification."""
        return adapter_spec(self.adapter)

    @cached_property
    def profiles(self) -> ProfileStore:
        """The harness profiles of the operator's files."""
        # Deferred import: the first request of a worker without such a file does not wait for it.
        from agent_swarm_worker.harness_profiles.profiles import ProfileStore  # noqa: PLC0415

        return ProfileStore(self._env, log=self._log)

    def own_profile(self) -> HarnessProfile:
        """Read the files again; return the harness profile of the worker's own choice."""
        self.profile = self.profiles.own(self.name)
        return self.profile

    def recorded_variables(self, harness: str, name: object) -> Mapping[str, str]:
        """Return the variables of the profile `name`, which an earlier session had.

        Without it, those of the worker's own profile if that is of the same harness.
        """
        try:
            profiles = self.profiles.current
            return profiles.resolve(profiles.find(str(name))).variables
        except (ValueError, ConfigError):
            return self.profile.variables if harness == self.name else {}

    def follow(self, env: Mapping[str, str]) -> bool:
        """Switch to the harness that `env` names; true if it changed.

        A harness that contradicts the harness profile is ignored.
        """
        try:
            check_choice(env)
        except BadSetting as error:
            if self._refused != str(error):
                self._refused = str(error)
                self._log.warning(Event.CONFIG_IGNORED, key="HARNESS_PROVIDER", why=error.why)
            return False
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
        self.profile = self.profiles.own(adapter.name, again=False)
        return True


def profile_of(harness: str, env: Mapping[str, str]) -> HarnessProfile:
    """Return the profile that a worker with `env` has if it runs this harness.

    Raises:
        ConfigError: the files, or the choice, cannot be used.
    """
    settings, chosen = HarnessProfileSettings.load(env), chosen_name(env)
    if not settings.file and (chosen is None or chosen.harness != harness):
        return HarnessProfile(name=ProfileName(harness))
    # Deferred import: as in `Harness.profiles`.
    from agent_swarm_worker.harness_profiles.profiles import HarnessProfiles  # noqa: PLC0415

    profiles = HarnessProfiles.load(settings.file)
    name = chosen if chosen and chosen.harness == harness else ProfileName(harness)
    try:
        return profiles.resolve(profiles.find(str(name)) if name == chosen else name)
    except ValueError as error:
        raise BadSetting(VARIABLE, str(name), str(error)) from None


def server_names(spec: HarnessSpec) -> tuple[str, ...]:
    """Return the names to send to the server, the best first; it accepts the last."""
    return (*spec.server_names, DEFAULT_HARNESS)


def harness_name(env: Mapping[str, str]) -> str:
    """Return the harness of ``HARNESS_PROFILE``, else ``HARNESS_PROVIDER``.

    Else that of the credentials (docs/api.md 3.10).
    """
    if (profile := chosen_name(env)) is not None:
        return profile.harness
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
