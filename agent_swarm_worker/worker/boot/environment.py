"""Overlays the process environment with the server's configuration rows, and makes the sandbox.

The overlay is computed from the rows each time, so deleting a row restores the process's value.
Fetched values are never written into `os.environ`, where they would outlive their rotation.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agent_swarm_worker.credentials.vendor import LoginSettings, issuer_of
from agent_swarm_worker.errors import BadHarnessProfiles, BadSetting, PermissionsUnsupported
from agent_swarm_worker.guards.child_env import ChildEnvSettings
from agent_swarm_worker.guards.permissions.policy import PermissionOptions, operator_policy
from agent_swarm_worker.guards.scrubbing.secret_names import SecretNameSettings
from agent_swarm_worker.guards.tokens import TokenizerSettings
from agent_swarm_worker.harness_profiles.names import HarnessProfileSettings, check_choice
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.network import NetworkSettings
from agent_swarm_worker.providers.registry import (
    adapter_spec,
    installed_options,
    known_specs,
    part_of,
)
from agent_swarm_worker.sandboxes.local import LocalSandbox
from agent_swarm_worker.sandboxes.port import GuestSpec
from agent_swarm_worker.settings import Settings
from agent_swarm_worker.settings.rows import operators_names
from agent_swarm_worker.tool_bridge.definitions import ToolSettings, check_tools
from agent_swarm_worker.workspace.git import GitSettings
from agent_swarm_worker.workspace.rules import WorkspaceSettings, rules_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from agent_swarm_worker.api.wire.resources import ConfigRow
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Guest, HarnessSpec, ProviderAdapter
    from agent_swarm_worker.credentials.hook import LoginHook
    from agent_swarm_worker.guards.permissions.policy import PermissionSettings, Policy
    from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
    from agent_swarm_worker.sandboxes.port import Sandbox
    from agent_swarm_worker.settings import SettingsModel

_GIT_PREFIXES = ("GIT_", "SSH_", "XDG_")
"""Variables by which git finds programs and its configuration."""
CORE_MODELS: tuple[type[SettingsModel], ...] = (
    Settings,
    ChildEnvSettings,
    GitSettings,
    HarnessProfileSettings,
    LoginSettings,
    NetworkSettings,
    PermissionOptions,
    SecretNameSettings,
    TokenizerSettings,
    ToolSettings,
    WorkspaceSettings,
)
"""The models with variables that only the operator may set, beside those of the harnesses; all are
checked at the start."""
MAX_VARIABLE_BYTES = 128 * 1024
"""Linux starts no process with a longer variable (``MAX_ARG_STRLEN``, see execve(2))."""
BLANK_IS_IGNORED = frozenset({"MODEL_OVERRIDE", "REASONING_EFFORT_OVERRIDE"})
"""A blank row must not clear the value of the container (docs/api.md 13.2)."""


class Environment:
    """The process environment, the configuration rows above it, and the settings of both."""

    def __init__(self, process_env: Mapping[str, str], *, scrubber: Scrubber, log: Log) -> None:
        self._process = dict(process_env)
        self._rows: dict[str, str] = {}
        self._ignored: frozenset[str] = frozenset()
        self._refused: set[str] = set()
        self._scrubber = scrubber
        self._log = log
        self._is_operators = operators_names(
            (*CORE_MODELS, *installed_options().values()),
            [prefix for spec in known_specs() for prefix in spec.operator_prefixes],
        )
        self._programs = program_variables()
        self._settings = checked_settings(self._process)
        self.permissions = operator_policy(self._process)
        """Read once: an agent that changes the operator's file of rules changes nothing."""
        scrubber.add_env(self._process)

    @property
    def settings(self) -> Settings:
        """Settings read from the environment in force."""
        return self._settings

    def values(self, permissions: PermissionSettings | None = None) -> dict[str, str]:
        """Return a copy of the environment in force.

        If a harness profile's `permissions` make a policy, no row names a program.
        """
        is_guarded = self.permissions.overridden(permissions).mode != "bypass"
        usable = {
            key: value
            for key, value in self._rows.items()
            if key not in self._ignored and not (is_guarded and key.upper() in self._programs)
        }
        return {**self._process, **usable}

    def for_own_git(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a session for the worker's own git (`own_git_env`)."""
        return own_git_env(self._process, env)

    def apply(self, rows: Iterable[ConfigRow]) -> frozenset[str]:
        """Replace the overlay; return the names whose value changed.

        Secrets among the rows are registered with the scrubber before anything can use them.
        """
        fresh: dict[str, str] = {}
        refused: set[str] = set()
        for row in rows:
            if row.is_secret:
                self._scrubber.add(row.key, row.value)
            if self._is_operators(row.key):
                refused.add(row.key)
                continue
            if self.permissions.mode != "bypass" and row.key.upper() in self._programs:
                refused.add(row.key)
                continue
            if not row.value.strip() and row.key in BLANK_IS_IGNORED and row.key in self._process:
                continue
            fresh[row.key] = row.value
        for key in sorted(refused - self._refused):
            self._log.warning(
                Event.CONFIG_IGNORED, key=key, why="only the operator sets this variable"
            )
        self._refused = refused
        if fresh == self._rows:
            return frozenset()
        self._scrubber.add_env(fresh)
        before, self._rows = self.values(), fresh
        self._reload()
        after = self.values()
        return frozenset(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))

    def _reload(self) -> None:
        """Reload the settings; a row with an unusable value is ignored, not fatal."""
        self._ignored = frozenset()
        for key, value in self._rows.items():
            if why := _why_unusable(key, value):
                self._ignore(key, why)
        while True:
            try:
                self._settings = _loaded(self.values())
            except BadSetting as error:
                if error.name not in self._rows or error.name in self._ignored:
                    raise
                self._ignore(error.name, error.why)
            else:
                return

    def _ignore(self, key: str, why: str) -> None:
        self._log.warning(Event.CONFIG_IGNORED, key=key, why=why)
        self._ignored |= {key}


def program_variables() -> frozenset[str]:
    """Return the variables that name a harness's program or what it loads, in upper case.

    Under a permission policy only the operator sets them: nobody is asked about such a program.
    """
    names: set[str] = set()
    for spec in known_specs():
        names.update(spec.command_variables, spec.code_variables)
        names.update(spec.program.variables if spec.program else ())
    return frozenset(map(str.upper, names))


def checked_settings(env: Mapping[str, str]) -> Settings:
    """Load the worker's settings from the environment of the process; check those of all parts.

    Raises:
        ConfigError: a setting, or the file that it names, cannot be used.
    """
    settings = _loaded(env)
    # No row changes these, so they are checked once.
    issuer_of(env)
    _check_harness_profiles(env)
    operator_policy(env)
    rules_for(env, None)
    check_tools(env)
    return settings


def _check_harness_profiles(env: Mapping[str, str]) -> None:
    check_choice(env)
    settings = HarnessProfileSettings.load(env)
    if settings.profile or settings.task_choices:
        # Deferred import: most workers have none.
        from agent_swarm_worker.harness_profiles.profiles import (  # noqa: PLC0415
            HarnessProfiles,
            check_names,
        )

        try:
            profiles = HarnessProfiles.load(settings.file)
        except BadHarnessProfiles:
            return  # the start reads them again, and tells
        if problems := check_names(profiles, env):
            raise BadHarnessProfiles(problems)


def _loaded(env: Mapping[str, str]) -> Settings:
    settings = Settings.load(env)
    for model in (*CORE_MODELS, *installed_options().values()):
        if problems := model.problems(env, early=True):
            raise problems[0]
    return settings


def own_git_env(process_env: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` with the variables that configure git as in `process_env`: no row sets them."""
    chosen = {key: value for key, value in env.items() if not _configures_git(key)}
    return chosen | {key: value for key, value in process_env.items() if _configures_git(key)}


def _configures_git(key: str) -> bool:
    return key.upper().startswith(_GIT_PREFIXES)


def _why_unusable(key: str, value: str) -> str:
    """Return why no process could be started with this variable; empty if one can."""
    if not key or "=" in key or "\0" in key + value:
        return "it is no valid name or value of a variable"
    size = len(f"{key}={value}".encode("utf-8", "surrogateescape"))
    return "" if size < MAX_VARIABLE_BYTES else f"{size} bytes are too many for a variable"


def make_sandbox(*, clock: Clock | None = None, log: Log | None = None) -> Sandbox:
    """Make the sandbox in which sessions run."""
    return LocalSandbox(clock=clock, log=log)


async def check_harness(
    sandbox: Sandbox,
    adapter: ProviderAdapter,
    env: Mapping[str, str],
    permissions: PermissionSettings | None = None,
) -> None:
    """Check that a session of this harness could start in this sandbox.

    `permissions` are those of a harness profile.

    Raises:
        ConfigError: a setting or a credential is missing or cannot be used.
        PermissionsUnsupported: it cannot keep the operator's policy.
        ProviderError: its program is missing, or the sandbox cannot be used.
    """
    policy = operator_policy(env).overridden(permissions)
    if permissions is not None and policy.mode == "rules" and not policy.rules:
        raise BadSetting("permissions", "rules", "it has no rules: everything would be denied")
    require_permissions(adapter, policy)
    async with guest_for_checks(sandbox) as guest:
        await adapter.check(guest.environment(env, needed_variables(adapter, env)), guest)


def require_permissions(adapter: ProviderAdapter, policy: Policy) -> None:
    """Raise `PermissionsUnsupported` if a policy needs questions that the harness never asks."""
    if policy.mode != "bypass" and adapter_spec(adapter).capabilities.permissions == "none":
        raise PermissionsUnsupported(adapter.name, policy.mode)


def with_lent_login(spec: HarnessSpec, env: Mapping[str, str]) -> Mapping[str, str]:
    """Return `env` with the login that the swarm would lend to a session of this harness."""
    if not spec.credentials.login:
        return env
    hook: LoginHook = part_of(spec, spec.credentials.login)()
    return hook.lend(env)


def needed_variables(adapter: ProviderAdapter, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables a session needs everywhere: credentials, options, those passed on."""
    spec = adapter_spec(adapter)
    options = spec.options
    settings = [name for names in options.variables().values() for name in names] if options else []
    passed = ChildEnvSettings.load(env).pass_env
    return (*spec.credentials.variables, *settings, *passed)


@asynccontextmanager
async def guest_for_checks(sandbox: Sandbox) -> AsyncIterator[Guest]:
    """Open a guest that belongs to no session."""
    async with sandbox.open(GuestSpec(name=f"check-{random_ids()}")) as guest:
        yield guest
