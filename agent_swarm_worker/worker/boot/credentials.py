"""Checks that the harness can log in, and reports the result to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.clock import epoch_ms
from agent_swarm_worker.errors import ApiError, CredentialsMissing
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import adapter_spec, part_of
from agent_swarm_worker.worker.boot.environment import check_harness

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import HarnessSpec
    from agent_swarm_worker.credentials.hook import LoginHook
    from agent_swarm_worker.worker.boot.parts import Core


def with_lent_login(spec: HarnessSpec, env: Mapping[str, str]) -> Mapping[str, str]:
    """Return `env` with the login that the swarm would lend to a session of this harness.

    Raises:
        UnusableProvider: the harness's login hook cannot be imported.
    """
    if not spec.credentials.login:
        return env
    hook: LoginHook = part_of(spec, spec.credentials.login)()
    return hook.lend(env)


async def missing_credentials(worker: Core) -> tuple[str, ...]:
    """Return the variables of which one is needed; nothing if the harness can log in.

    A login that the swarm can lend counts like a variable of this process.
    """
    adapter, env = worker.harness.adapter, worker.environment.values()
    spec = adapter_spec(adapter)
    try:
        await check_harness(worker.sandbox, adapter, with_lent_login(spec, env))
    except CredentialsMissing as error:
        return error.missing
    return ()


async def report_credentials(worker: Core, missing: tuple[str, ...] = ()) -> None:
    """Tell the server whether the harness can log in (docs/api.md 3.6); failures are logged."""
    try:
        await worker.client.agents.credential_status(
            worker.agent_id,
            ready=not missing,
            missing=missing,
            reported_at_ms=epoch_ms(worker.clock.now()),
        )
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="credential-status", why=str(error))
