"""The sandbox of this worker: the one place that makes one, for the daemon and the commands."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agent_swarm_worker.guards.settings import ChildEnvSettings
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.sandboxes.local import LocalSandbox
from agent_swarm_worker.sandboxes.port import GuestSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Guest, ProviderAdapter
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.sandboxes.port import Sandbox


def make_sandbox(*, clock: Clock | None = None, log: Log | None = None) -> Sandbox:
    """Make the sandbox in which sessions run."""
    return LocalSandbox(clock=clock, log=log)


async def check_harness(sandbox: Sandbox, adapter: ProviderAdapter, env: Mapping[str, str]) -> None:
    """Find out whether a session of this harness could start in this sandbox.

    Raises:
        ConfigError: a setting or a credential is missing or cannot be used.
        ProviderError: its program is missing, or the sandbox cannot be used.
    """
    async with guest_for_checks(sandbox) as guest:
        await adapter.check(guest.environment(env, needed_variables(adapter, env)), guest)


def needed_variables(adapter: ProviderAdapter, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables that sessions of a harness need wherever they run.

    These are its credentials, its settings, and what the operator wants passed on.
    """
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
