"""Live reconfiguration: the server's rows are read again and again and take effect at once.

New sessions use what changed; running ones keep what they started with (docs/api.md 13.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker import registration
from agent_swarm_worker.worker.credentials import missing_credentials, report_credentials
from agent_swarm_worker.worker.parts import Api, Basics, Config, Host, Identity, Running

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.swarm.wire import ConfigRow


class Parts(Identity, Config, Basics, Api, Running, Host, Protocol):
    """What this module uses of the worker."""


async def reconfigure(worker: Parts) -> bool:
    """Read the configuration once; true if something the server shows of us changed."""
    try:
        rows = await worker.client.config.resolved(worker.agent_id)
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="config", why=str(error))
        return False
    return apply_configuration(worker, rows)


def apply_configuration(worker: Parts, rows: Iterable[ConfigRow]) -> bool:
    """Put configuration rows in force; true if something the server shows of us changed."""
    changed = worker.environment.apply(rows)
    if changed:
        worker.log.info(Event.CONFIG_CHANGED, keys=sorted(changed)[:20], count=len(changed))
    swapped = worker.harness.follow(worker.environment.values())
    capacity = worker.settings.slots(worker.options.role)
    template = worker.facts.template
    if template and template.max_tasks and worker.settings.max_concurrent_tasks is None:
        capacity = template.max_tasks
    resized = capacity != worker.slots.capacity
    if resized:
        worker.slots.capacity = capacity
    return swapped or resized


async def reconfigure_loop(worker: Parts) -> None:
    """Keep configuration, registration and the reported state of the credentials current."""
    register_at_s = worker.clock.monotonic() + registration.REFRESH_S
    reported: tuple[str, tuple[str, ...]] | None = None
    while True:
        await worker.clock.sleep(worker.settings.reconfigure_interval_s)
        now_s = worker.clock.monotonic()
        if await reconfigure(worker):
            register_at_s = now_s
        if now_s >= register_at_s and await registration.register_again(worker):
            register_at_s = now_s + registration.REFRESH_S
        reported = await _report_harness(worker, reported)


async def _report_harness(
    worker: Parts, reported: tuple[str, tuple[str, ...]] | None
) -> tuple[str, tuple[str, ...]] | None:
    """Report the credentials when the harness or what it lacks changed, and nothing runs.

    The report makes the server call this agent idle (docs/api.md 3.6), so not while it works.
    """
    try:
        missing = await missing_credentials(worker)
    except Exception as error:  # a session will fail with it; the worker goes on
        worker.log.debug(Event.CONFIG_IGNORED, key="HARNESS_PROVIDER", why=str(error))
        return reported
    state = (worker.harness.name, missing)
    if reported in (None, state) or len(worker.slots):
        return reported if len(worker.slots) else state
    await report_credentials(worker, missing)
    return state
