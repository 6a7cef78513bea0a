"""Prepare a container for the worker.

The steps, in order::

    as root      API key · API · configuration · ownership · directories · global setup script
    as worker    default files · harness login · git · clones · start-up script · harness program

The command then replaces this process. A container that does not run as root skips the steps that
need it.

`exportable` configuration rows become variables of set-up scripts and of commands other than the
worker, which applies the rows itself and follows their changes. They are passed in an environment,
never through a file or a shell, so that no value needs quoting.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker import __version__
from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.container import git_setup, ownership, scripts
from agent_swarm_worker.container.git_setup import clone_all
from agent_swarm_worker.container.ownership import change_ownership, drop_privileges, target_account
from agent_swarm_worker.credentials.pools import withheld_from_all
from agent_swarm_worker.errors import ApiError, BinaryMissing, ContainerError, CredentialsMissing
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.registry import known_specs, part_of, spec_of
from agent_swarm_worker.settings import Settings, SettingsModel, boot
from agent_swarm_worker.settings.base import Flag  # noqa: TC001 - pydantic reads it
from agent_swarm_worker.state.directory import generated_agent_id
from agent_swarm_worker.worker.boot.environment import (
    Environment,
    check_harness,
    make_sandbox,
    own_git_env,
)
from agent_swarm_worker.worker.boot.harness import Harness, harness_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from agent_swarm_worker.api.resources import SetupScripts
    from agent_swarm_worker.api.wire.resources import ConfigRow, Repo
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.container.ownership import Account
    from agent_swarm_worker.contract import HarnessSpec
    from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber

_NO_HOME = (Path("/"), Path("/root"))


LIMIT = "WORKER_API_READY_TIMEOUT_SECONDS"
DEFAULT_LIMIT_S = 90
ATTEMPT_S = 3.0
PAUSE_S = 1.0

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NEVER_EXPORTED = "HARNESS_PROVIDER"
"""The worker selects the harness itself, whenever the configuration changes."""


class ContainerSettings(SettingsModel):
    """Variables of the container's start, besides the worker's settings."""

    # --- the start of a container
    startup_script_strict: Flag = boot("STARTUP_SCRIPT_STRICT", default=False)
    """A set-up script that fails ends the start, with the script's exit code."""
    api_ready_timeout: str = boot(
        "WORKER_API_READY_TIMEOUT_SECONDS", default="", keeps_blank=True, is_shared=True
    )
    """As given; `ready_limit_s` validates it."""


@dataclass(slots=True)
class ServerData:
    """The responses; empty where there was none."""

    rows: tuple[ConfigRow, ...] = ()
    scripts: SetupScripts | None = None
    """``None`` if they could not be fetched."""
    repos: tuple[Repo, ...] = ()


class Preparation:
    """Prepares a container, once."""

    def __init__(
        self, env: Mapping[str, str], *, user: str, scrubber: Scrubber, log: Log | None = None
    ) -> None:
        """Read the settings.

        Args:
            env: the container's environment.
            user: to run as, if the process is root.
            scrubber: gets the secrets of the configuration rows.
            log: for each step.

        Raises:
            ContainerError: the time limit is invalid, or the user does not exist.
            BadSetting: another variable is invalid.
        """
        self._log, self._clock, self._scrubber = log or Log(), SystemClock(), scrubber
        self._limit_s = ready_limit_s(env)
        self._account = target_account(user)
        self._env = self._account.environment(env) if self._account else dict(env)
        self._settings = Settings.load(self._env)
        self._workspace = self._settings.workspace_dir
        self._server_data = ServerData()

    def run(self) -> dict[str, str]:
        """Run all steps; return the environment with the configuration rows.

        Raises:
            ContainerError: a step failed without which the worker cannot run.
        """
        if not self._settings.api_key:
            raise ContainerError("API_KEY environment variable is required")
        anyio.run(partial(wait_for_api, self._settings, limit_s=self._limit_s, clock=self._clock))
        agent_id = self._agent_id()
        self._log.info(
            Event.BOOT_STEP, step="prepare", version=__version__, agent=agent_id, uid=os.geteuid()
        )
        self._server_data = anyio.run(
            partial(fetch, self._settings, agent_id, clock=self._clock, log=self._log)
        )
        exported = {**self._env, **self._exported()}
        identity = git_setup.identity(exported)
        exported |= identity
        self._env |= identity
        run = scripts.Scripts(
            self._workspace if self._workspace.is_dir() else Path.cwd(),
            is_strict=ContainerSettings.load(self._env).startup_script_strict,
            log=self._log,
        )
        self._run_as_root(agent_id, exported, run)
        self._run_as_worker(exported, run)
        return exported

    @property
    def environment(self) -> dict[str, str]:
        """The container's environment without the configuration rows, for the worker."""
        return dict(self._env)

    # --- steps
    def _agent_id(self) -> str:
        return self._settings.agent_id or generated_agent_id(
            self._settings.state_root(), random_ids
        )

    def _exported(self) -> dict[str, str]:
        layers = Environment(self._env, scrubber=self._scrubber, log=self._log)
        layers.apply(exportable(self._server_data.rows, known_specs(), self._log))
        return layers.values()

    def _run_as_root(
        self, agent_id: str, exported: Mapping[str, str], run: scripts.Scripts
    ) -> None:
        account, workspace = self._account, self._workspace
        if account is not None:
            mounts = [workspace, workspace / "personal", workspace / "shared"]
            if self._settings.log_dir:
                mounts.append(self._settings.log_dir)
            ownership.chown_mounts(tuple(mounts), account, self._log)
        ownership.make_agent_directories(workspace, agent_id, account, self._log)
        is_root = os.geteuid() == 0
        anyio.run(partial(git_setup.trust_every_clone, self._env, is_root=is_root, log=self._log))
        if self._server_data.scripts is not None:
            if not is_root and self._server_data.scripts.everyone:
                self._log.warning(
                    Event.BOOT_STEP, step="global setup script", why="not running as root"
                )
            run.run_global(self._server_data.scripts.everyone, exported)
        if account is not None:
            for directory in {self._settings.home, self._settings.state_root()}:
                _change_ownership(directory, account, self._log)
            drop_privileges(account)

    def _run_as_worker(self, exported: dict[str, str], run: scripts.Scripts) -> None:
        ownership.write_default_files(
            self._settings.home, self._workspace, known_specs(), self._log
        )
        self._restore_login()
        git_env = own_git_env(self._env, exported)
        anyio.run(partial(git_setup.set_up_logins, git_env, self._log))
        if self._workspace.is_dir():
            anyio.run(
                partial(
                    clone_all,
                    self._server_data.repos,
                    git_env,
                    workspace=self._workspace,
                    clock=self._clock,
                )
            )
        known = self._server_data.scripts
        run.run_start_up(None if known is None else known.own, exported)
        self._check_program()

    def _restore_login(self) -> None:
        env = self._in_force()
        spec = spec_of(harness_name(env))
        if not spec.credentials.login:
            return
        step = f"{spec.name} login"
        try:
            if part_of(spec, spec.credentials.login)().restore(env, self._log):
                self._log.info(Event.BOOT_STEP, step=step, state="restored")
        except OSError as error:
            self._log.warning(Event.BOOT_STEP, step=step, why=error.strerror)

    def _check_program(self) -> None:
        values = self._in_force()
        harness = Harness(values, log=self._log)
        adapter, permissions = harness.adapter, harness.profile.permissions
        values = {**values, **harness.profile.variables}
        with contextlib.suppress(CredentialsMissing):
            try:
                anyio.run(check_harness, make_sandbox(), adapter, values, permissions)
            except BinaryMissing as error:
                path = values.get("PATH", "")
                raise ContainerError(
                    f"{adapter.name} CLI not found ({error.program}: {error.why}); PATH={path}"
                ) from None

    def _in_force(self) -> dict[str, str]:
        layers = Environment(self._env, scrubber=self._scrubber, log=Log())
        layers.apply(self._server_data.rows)
        return layers.values()


# --- what the server has for the start
async def fetch(settings: Settings, agent_id: str, *, clock: Clock, log: Log) -> ServerData:
    """Fetch configuration rows, set-up scripts and repositories, concurrently.

    A request that fails is logged and does not end the start: the worker repeats those it needs.
    """
    data = ServerData()
    async with Http(
        settings.api_url,
        health=ApiHealth(clock, log),
        api_key=settings.api_key,
        agent_id=agent_id,
        timeout_s=settings.api_timeout_s,
    ) as http:
        client = SwarmClient(http, ServerCapabilities(clock, log))

        async def rows() -> None:
            data.rows = await client.config.resolved(agent_id)

        async def scripts() -> None:
            data.scripts = await client.resources.setup_scripts(agent_id)

        async def repos() -> None:
            data.repos = await client.resources.repos_to_clone()

        async with anyio.create_task_group() as group:
            for request in (rows, scripts, repos):
                group.start_soon(_best_effort, request, log)
    return data


async def _best_effort(request: Callable[[], Awaitable[None]], log: Log) -> None:
    try:
        await request()
    except ApiError as error:
        log.warning(Event.BOOT_STEP, step=request.__name__, why=str(error))


def exportable(
    rows: Iterable[ConfigRow], specs: Iterable[HarnessSpec], log: Log
) -> tuple[ConfigRow, ...]:
    """Return the rows that can be shell variables and no harness withholds; log unusable names."""
    is_withheld = withheld_from_all(spec.credentials for spec in specs)
    exported = []
    for row in rows:
        if row.key == _NEVER_EXPORTED or is_withheld(row.key):
            continue
        if _IDENTIFIER.fullmatch(row.key):
            exported.append(row)
        else:
            log.warning(Event.CONFIG_IGNORED, key=row.key, why="no shell variable has such a name")
    return tuple(exported)


def ready_limit_s(env: Mapping[str, str]) -> int:
    """Return how many seconds to wait for the API."""
    value = ContainerSettings.load(env).api_ready_timeout or str(DEFAULT_LIMIT_S)
    if not re.fullmatch(r"[0-9]+", value, re.ASCII) or int(value[:9]) == 0:
        raise ContainerError(f"{LIMIT} must be a positive integer, got '{value}'")
    return int(value[:9])


async def wait_for_api(settings: Settings, *, limit_s: int, clock: Clock) -> None:
    """Poll the API's health every second until it responds; the key is not sent."""
    health = ApiHealth(clock)
    async with Http(settings.api_url, health=health, timeout_s=ATTEMPT_S) as http:
        client = SwarmClient(http, ServerCapabilities(clock))
        with anyio.move_on_after(limit_s):
            while True:
                try:
                    await client.resources.health()
                except ApiError:
                    await clock.sleep(PAUSE_S)
                else:
                    return
        url = f"{http.shown_url}/health"
        raise ContainerError(f"API readiness timed out after {limit_s}s waiting for {url}")


def prepare_offline(env: Mapping[str, str], *, user: str, log: Log | None = None) -> dict[str, str]:
    """Change ownership and drop root privileges only; return the environment of `user`.

    For commands such as ``doctor``, which must run where the API or a setting is broken.
    """
    account = target_account(user)
    if account is None:
        return dict(env)
    own = account.environment(env)
    _change_ownership(Path(own["HOME"]), account, log or Log())
    drop_privileges(account)
    return own


def _change_ownership(directory: Path, account: Account, log: Log) -> None:
    if directory.resolve() in _NO_HOME or not directory.is_dir():
        return
    done = change_ownership(directory, account)
    if not (done.changed or done.refused or done.why_incomplete):
        return
    write = log.warning if done.refused or done.why_incomplete else log.info
    write(
        Event.BOOT_STEP,
        step="ownership",
        path=str(directory),
        changed=done.changed,
        refused=done.refused or None,
        why=done.why_incomplete or None,
    )
