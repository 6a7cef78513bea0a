"""Waiting until the harness has something to log in with (docs/api.md 3.11).

A worker without a credential parks, visibly, instead of crashing again and again: the credential
may come with the configuration at any time.
"""

from __future__ import annotations

from typing import Protocol

from agent_swarm_worker.errors import CredentialWaitExceeded
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.credentials import missing_credentials, report_credentials
from agent_swarm_worker.worker.parts import Api, Basics, Config, Host, Identity, Running
from agent_swarm_worker.worker.reconfigure import reconfigure


class Parts(Identity, Config, Basics, Api, Running, Host, Protocol):
    """What this module uses of the worker."""


async def wait_for_credentials(worker: Parts) -> bool:
    """Wait, telling the server each time, until a credential turns up in the configuration.

    Returns:
        True if there was a wait, so that the caller registers again.

    Raises:
        CredentialWaitExceeded: ``BOOT_MAX_WAIT_SECONDS`` is over; exit code 78.
    """
    settings = worker.settings
    missing = await missing_credentials(worker)
    if settings.cred_check_disable or not missing:
        return False
    worker.log.warning(
        Event.CREDENTIALS_MISSING, harness=worker.harness.name, one_of=" or ".join(missing)
    )
    started_at_s = worker.clock.monotonic()
    pause_s = settings.boot_initial_backoff_ms / 1000
    while missing:
        await report_credentials(worker, missing)
        waited_s = worker.clock.monotonic() - started_at_s
        limit_s = settings.boot_max_wait_s
        if limit_s and waited_s >= limit_s:
            raise CredentialWaitExceeded(missing, waited_s)
        await worker.clock.sleep(min(pause_s, limit_s - waited_s) if limit_s else pause_s)
        pause_s = min(pause_s * 2, settings.boot_max_backoff_ms / 1000)
        await reconfigure(worker)
        missing = await missing_credentials(worker)
    worker.log.info(Event.CREDENTIALS_READY, harness=worker.harness.name)
    return True
