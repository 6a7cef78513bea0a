"""Everything between the start of a container and the start of the worker in it, in order.

    as root      API key · API · configuration · ownership · folders · global setup script
    as worker    files · harness login · git · clones · start-up script · harness program

Then the command runs in this process's place, so that nothing of this is left. A container that
runs under another user than root skips what only root can do.
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
from agent_swarm_worker.container.facts import (
    ContainerSettings,
    Facts,
    ask,
    exportable,
    ready_limit_s,
    wait_for_api,
)
from agent_swarm_worker.container.git_setup import clone_all
from agent_swarm_worker.container.ownership import account_to_become, become, hand_over
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
    """Makes a container ready, once."""

    def __init__(
        self, env: Mapping[str, str], *, user: str, scrubber: Scrubber, log: Log | None = None
    ) -> None:
        """Read the settings.

        Args:
            env: the container's environment.
            user: whose rights to take on, if we have root's.
            scrubber: learns the secrets of the configuration rows.
            log: where each step is told.

        Raises:
            ContainerError: ``API_KEY`` or the time limit is missing or unusable.
            BadSetting: another variable is.
        """
        self._log, self._clock, self._scrubber = log or Log(), SystemClock(), scrubber
        self._limit_s = ready_limit_s(env)
        self._account = account_to_become(user)
        self._env = self._account.environment(env) if self._account else dict(env)
        self._settings = Settings.load(self._env)
        self._workspace = self._settings.workspace_dir
        self._facts = Facts()

    def run(self) -> dict[str, str]:
        """Do everything and return the environment, with the configuration rows in it.

        Raises:
            ScriptFailed: a set-up script failed, and that is to be fatal.
            ContainerError: the API did not answer in time, or the harness's program is not there.
        """
        if not self._settings.api_key:
            raise ContainerError("API_KEY environment variable is required")
        anyio.run(partial(wait_for_api, self._settings, limit_s=self._limit_s, clock=self._clock))
        agent_id = self._agent_id()
        self._log.info(
            Event.BOOT_STEP, step="prepare", version=__version__, agent=agent_id, uid=os.geteuid()
        )
        self._facts = anyio.run(
            partial(ask, self._settings, agent_id, clock=self._clock, log=self._log)
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
        self._with_roots_rights(agent_id, exported, run)
        self._drop_rights()
        self._with_the_workers(exported, run)
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
        """Return what the rows add to or change in the environment."""
        layers = Environment(self._env, scrubber=self._scrubber, log=self._log)
        layers.apply(exportable(self._facts.rows, known_specs(), self._log))
        return layers.values()

    def _with_roots_rights(
        self, agent_id: str, exported: Mapping[str, str], run: scripts.Scripts
    ) -> None:
        account, workspace = self._account, self._workspace
        if account is not None:
            places = [workspace, workspace / "personal", workspace / "shared"]
            if self._settings.log_dir:
                places.append(self._settings.log_dir)
            ownership.own_places(tuple(places), account, self._log)
        ownership.make_folders(workspace, agent_id, account, self._log)
        is_root = os.geteuid() == 0
        anyio.run(partial(git_setup.trust_every_clone, self._env, is_root=is_root, log=self._log))
        if self._facts.scripts is not None:
            if not is_root and self._facts.scripts.everyone:
                self._log.warning(
                    Event.BOOT_STEP, step="global setup script", why="we have no root's rights"
                )
            run.run_everyones(self._facts.scripts.everyone, exported)
        self._own_home()

    def _own_home(self) -> None:
        """Give the worker what root has left in its home, now or in an earlier life."""
        if self._account is None:
            return
        for place in {self._settings.home, self._settings.state_root()}:
            _hand_over(place, self._account, self._log)

    def _drop_rights(self) -> None:
        if self._account is not None:
            become(self._account)

    def _with_the_workers(self, exported: dict[str, str], run: scripts.Scripts) -> None:
        ownership.furnish(self._settings.home, self._workspace, known_specs(), self._log)
        self._restore_login()
        anyio.run(partial(git_setup.set_up_logins, exported, self._log))
        if self._workspace.is_dir():
            anyio.run(
                partial(
                    clone_all,
                    self._facts.repos,
                    exported,
                    workspace=self._workspace,
                    clock=self._clock,
                )
            )
        known = self._facts.scripts
        run.run_start_up(None if known is None else known.own, exported)
        self._check_program()

    def _restore_login(self) -> None:
        """Write the login files of the harness, if it has a login hook."""
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
        """Find out, as the worker's user, whether the harness's program is there.

        Raises:
            ContainerError: it is not.
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
        """The environment as the worker will see it, rows included."""
        layers = Environment(self._env, scrubber=self._scrubber, log=Log())
        layers.apply(self._facts.rows)
        return layers.values()


def only_here(env: Mapping[str, str], *, user: str, log: Log | None = None) -> dict[str, str]:
    """Do what needs neither the API nor a setting, and return the environment of `user`.

    For commands beside the worker: somebody who looks for the cause of something must not have to
    mend it first.

    Raises:
        ContainerError: we are root, and there is no such user.
    """
    account = account_to_become(user)
    if account is None:
        return dict(env)
    own = account.environment(env)
    _hand_over(Path(own["HOME"]), account, log or Log())
    become(account)
    return own


def _hand_over(place: Path, account: Account, log: Log) -> None:
    if place.resolve() in _NO_HOME or not place.is_dir():
        return
    done = hand_over(place, account)
    if not (done.changed or done.refused or done.why_incomplete):
        return
    tell = log.warning if done.refused or done.why_incomplete else log.info
    tell(
        Event.BOOT_STEP,
        step="ownership",
        path=str(place),
        changed=done.changed,
        refused=done.refused or None,
        why=done.why_incomplete or None,
    )
