"""Find out whether a harness is installed in the sandbox, and whether a login for it is there."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, TypeAlias

from agent_swarm_worker.errors import MissingExtra, ProviderError, SwarmWorkerError
from agent_swarm_worker.providers.kit.logins import find_login
from agent_swarm_worker.providers.registry import adapter_spec, create_provider, spec_of
from agent_swarm_worker.settings import named
from agent_swarm_worker.text import one_line
from agent_swarm_worker.worker.boot.environment import (
    guest_for_checks,
    needed_variables,
    with_lent_login,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import Guest, HarnessSpec, Program
    from agent_swarm_worker.sandboxes.port import Sandbox

Status: TypeAlias = Literal["LOGIN_DETECTED", "INSTALLED", "NOT_FOUND"]
PROBE_S = 10.0
MAX_ANSWER_BYTES = 4096
MAX_VERSION_CHARS = 80


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a harness is there, and what to do if not."""

    status: Status
    version: str = ""
    """What its program says of itself; empty if there is none, or if it says nothing in time."""
    reason: str = ""
    todo: str = ""
    works: bool = True
    """Its program answers, if it has one."""
    is_slow: bool = False
    """It did not answer in time, as on a busy machine: it may work."""


async def find_program(name: str, env: Mapping[str, str], sandbox: Sandbox) -> Availability:
    """Return whether a harness is installed in `sandbox`, and has a login there.

    Never raises for a harness that is broken. A probe takes at most `PROBE_S` seconds.
    """
    spec = spec_of(name)
    try:
        adapter = create_provider(name)
        env = with_lent_login(adapter_spec(adapter), env)
        async with guest_for_checks(sandbox) as guest:
            inside = guest.environment(env, needed_variables(adapter, env))
            return await _find(spec, inside, guest)
    except SwarmWorkerError as error:
        todo = _install_extra(spec) if isinstance(error, MissingExtra) else ""
        return Availability("NOT_FOUND", reason=str(error), todo=todo)
    except Exception as error:  # a foreign adapter or spec may raise anything
        return Availability("NOT_FOUND", reason=repr(error))


async def _find(spec: HarnessSpec, env: Mapping[str, str], guest: Guest) -> Availability:
    version = ""
    if spec.program is not None:
        program = _command(spec.program, env)
        try:
            answer = await guest.run(
                (*program, *spec.program.version_arguments),
                cwd=PurePosixPath("/"),
                env=env,
                timeout_s=PROBE_S,
                max_output=MAX_ANSWER_BYTES,
                name="probe",
            )
        except ProviderError as error:
            install = spec.program.install
            todo = f"install it with `{install.command}`" if install else ""
            return Availability("NOT_FOUND", reason=str(error), todo=todo, works=False)
        version = one_line(answer.stdout.decode("utf-8", "replace"), MAX_VERSION_CHARS)
        asked = " ".join(spec.program.version_arguments)
        if answer.timed_out:
            why = f"{program[0]} {asked} did not answer in {PROBE_S:g} s"
            todo = f"run `{program[0]} {asked}`"
            return Availability("INSTALLED", reason=why, todo=todo, works=False, is_slow=True)
        if answer.exit_code:
            why = f"{program[0]} {asked} ended with exit code {answer.exit_code}"
            todo = f"run `{program[0]} {asked}`"
            return Availability("INSTALLED", reason=why, todo=todo, works=False)
    credentials = spec.credentials
    if not credentials.variables and not credentials.files:
        return Availability("INSTALLED", version, "it needs no login")
    if found := await find_login(credentials, env, guest):
        return Availability("LOGIN_DETECTED", version, f"login in {found}")
    return Availability("INSTALLED", version, "no login was found", _set_login(spec))


def _command(program: Program, env: Mapping[str, str]) -> tuple[str, ...]:
    for variable in program.variables:
        if words := shlex.split(named(env, variable)):
            return tuple(words)
    return (program.name,)


def _set_login(spec: HarnessSpec) -> str:
    ways = []
    if variables := spec.credentials.variables:
        ways.append(f"set {' or '.join(variables)}")
    if files := spec.credentials.files:
        ways.append(f"log in, so that there is {' or '.join(f'~/{file}' for file in files)}")
    return ", or ".join(ways)


def _install_extra(spec: HarnessSpec) -> str:
    return f"install it with `pip install 'agent-swarm-worker[{spec.extra}]'`" if spec.extra else ""
