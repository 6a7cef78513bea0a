"""Prepare a container for the worker.

The steps, in order::

    as root      API key · API · configuration · ownership · directories · global setup script
    as worker    default files · harness login · git · clones · start-up script · harness program

The command then replaces this process. A container that does not run as root skips the steps that
need it.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker import __version__
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.container import git_setup, ownership, scripts
from agent_swarm_worker.container.api import (
    ContainerSettings,
    ServerData,
    exportable,
    fetch,
    ready_limit_s,
    wait_for_api,
)
from agent_swarm_worker.container.git_setup import clone_all
from agent_swarm_worker.container.ownership import change_ownership, drop_privileges, target_account
from agent_swarm_worker.errors import BinaryMissing, ContainerError, CredentialsMissing
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.registry import known_specs, part_of, spec_of
from agent_swarm_worker.settings import Settings
from agent_swarm_worker.state.directory import generated_agent_id
from agent_swarm_worker.worker.boot.environment import Environment, check_harness, make_sandbox
from agent_swarm_worker.worker.boot.harness import Harness, harness_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.container.ownership import Account
    from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber

_NO_HOME = (Path("/"), Path("/root"))


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
            ScriptFailed: a set-up script failed, and failures are fatal.
            ContainerError: ``API_KEY`` is missing, the API did not respond in time, or the
                harness's program is missing.
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
        """Return the environment with the exportable rows."""
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
        anyio.run(partial(git_setup.set_up_logins, exported, self._log))
        if self._workspace.is_dir():
            anyio.run(
                partial(
                    clone_all,
                    self._server_data.repos,
                    exported,
                    workspace=self._workspace,
                    clock=self._clock,
                )
            )
        known = self._server_data.scripts
        run.run_start_up(None if known is None else known.own, exported)
        self._check_program()

    def _restore_login(self) -> None:
        """Write the login files of the harness, if its spec names a login hook."""
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
        """Check as the worker's user that the harness's program exists.

        Raises:
            ContainerError: it does not.
            ConfigError: the harness is not known, or cannot be used.
        """
        values = self._in_force()
        adapter = Harness(values, log=self._log).adapter
        with contextlib.suppress(CredentialsMissing):
            try:
                anyio.run(check_harness, make_sandbox(), adapter, values)
            except BinaryMissing as error:
                path = values.get("PATH", "")
                raise ContainerError(
                    f"{adapter.name} CLI not found ({error.program}: {error.why}); PATH={path}"
                ) from None

    def _in_force(self) -> dict[str, str]:
        """Return the worker's environment, configuration rows included."""
        layers = Environment(self._env, scrubber=self._scrubber, log=Log())
        layers.apply(self._server_data.rows)
        return layers.values()


def prepare_offline(env: Mapping[str, str], *, user: str, log: Log | None = None) -> dict[str, str]:
    """Change ownership and drop root privileges only; return the environment of `user`.

    For commands such as ``doctor``, which must run where the API or a setting is broken.

    Raises:
        ContainerError: the process is root, and the user does not exist.
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
