"""Wait for the swarm API, then fetch configuration rows, set-up scripts and repositories.

`exportable` rows become variables of set-up scripts and of commands other than the worker, which
applies the rows itself and follows their changes. They are passed in an environment, never through
a file or a shell, so that no value needs quoting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.credentials.pools import withheld_from_all
from agent_swarm_worker.errors import ApiError, ContainerError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.settings import SettingsModel, boot
from agent_swarm_worker.settings.base import Flag  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from agent_swarm_worker.api.resources import SetupScripts
    from agent_swarm_worker.api.wire.resources import ConfigRow, Repo
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import HarnessSpec
    from agent_swarm_worker.settings import Settings


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
    """Return the rows that can be shell variables; log the names of the others.

    Args:
        rows: all rows.
        specs: of the installed harnesses; variables that one withholds are left out.
        log: for rows that cannot be shell variables.
    """
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
    """Return how many seconds to wait for the API.

    Raises:
        ContainerError: the variable is not a positive integer.
    """
    value = ContainerSettings.load(env).api_ready_timeout or str(DEFAULT_LIMIT_S)
    if not re.fullmatch(r"[0-9]+", value, re.ASCII) or int(value[:9]) == 0:
        raise ContainerError(f"{LIMIT} must be a positive integer, got '{value}'")
    return int(value[:9])


async def wait_for_api(settings: Settings, *, limit_s: int, clock: Clock) -> None:
    """Poll the API's health every second until it responds; the key is not sent.

    Raises:
        ContainerError: it did not respond in time.
        BadSetting: its address cannot be used.
    """
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
