"""What the swarm says about this container, asked once and with a time limit.

Which configuration rows become variables of set-up scripts and other commands.

They go from memory into an environment: no file is written and no shell reads them, so there is
nothing in a value that would have to be quoted. The worker is not given them: it lays the rows
over its environment by itself, and follows them when they change.

Waiting for the API before anything depends on it.

Variables of the start of a container.
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
    from agent_swarm_worker.api.wire import ConfigRow, Repo
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import HarnessSpec
    from agent_swarm_worker.settings import Settings


@dataclass(slots=True)
class Facts:
    """The answers; nothing where there was none."""

    rows: tuple[ConfigRow, ...] = ()
    scripts: SetupScripts | None = None
    """``None`` if they are not known, which is something else than none at all."""
    repos: tuple[Repo, ...] = ()


async def ask(settings: Settings, agent_id: str, *, clock: Clock, log: Log) -> Facts:
    """Ask for configuration, set-up scripts and repositories, all at once.

    An answer that does not come costs its time limit and a line in the log, never the start: the
    worker asks for what it needs again.
    """
    facts = Facts()
    async with Http(
        settings.api_url,
        health=ApiHealth(clock, log),
        api_key=settings.api_key,
        agent_id=agent_id,
        timeout_s=settings.api_timeout_s,
    ) as http:
        client = SwarmClient(http, ServerCapabilities(clock, log))

        async def rows() -> None:
            facts.rows = await client.config.resolved(agent_id)

        async def scripts() -> None:
            facts.scripts = await client.resources.setup_scripts(agent_id)

        async def repos() -> None:
            facts.repos = await client.resources.repos_to_clone()

        async with anyio.create_task_group() as questions:
            for question in (rows, scripts, repos):
                questions.start_soon(_best_effort, question, log)
    return facts


async def _best_effort(question: Callable[[], Awaitable[None]], log: Log) -> None:
    try:
        await question()
    except ApiError as error:
        log.warning(Event.BOOT_STEP, step=question.__name__, why=str(error))


_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NEVER = "HARNESS_PROVIDER"
"""The harness is chosen anew all the time."""


def exportable(
    rows: Iterable[ConfigRow], specs: Iterable[HarnessSpec], log: Log
) -> tuple[ConfigRow, ...]:
    """Return the rows that a shell could have as variables; the others are named in the log.

    Args:
        rows: all rows.
        specs: of the installed harnesses; what one withholds from all sessions is for it alone.
        log: where rows are named that no shell could have.
    """
    is_withheld = withheld_from_all(spec.credentials for spec in specs)
    kept = []
    for row in rows:
        if row.key == _NEVER or is_withheld(row.key):
            continue
        if _IDENTIFIER.fullmatch(row.key):
            kept.append(row)
        else:
            log.warning(Event.CONFIG_IGNORED, key=row.key, why="no shell variable has such a name")
    return tuple(kept)


LIMIT = "WORKER_API_READY_TIMEOUT_SECONDS"
DEFAULT_LIMIT_S = 90
ATTEMPT_S = 3.0
PAUSE_S = 1.0


def ready_limit_s(env: Mapping[str, str]) -> int:
    """Return how many seconds to wait for the API.

    Raises:
        ContainerError: the variable holds something else than a positive whole number.
    """
    value = ContainerSettings.load(env).api_ready_timeout or str(DEFAULT_LIMIT_S)
    if not re.fullmatch(r"[0-9]+", value, re.ASCII) or int(value[:9]) == 0:
        raise ContainerError(f"{LIMIT} must be a positive integer, got '{value}'")
    return int(value[:9])


async def wait_for_api(settings: Settings, *, limit_s: int, clock: Clock) -> None:
    """Ask for the API's health each second until it answers; the key is not sent.

    Raises:
        ContainerError: it did not answer in time.
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


class ContainerSettings(SettingsModel):
    """What is read besides the worker's own settings."""

    # --- the start of a container
    startup_script_strict: Flag = boot("STARTUP_SCRIPT_STRICT", default=False)
    """A set-up script that fails ends the start, with the script's exit code."""
    api_ready_timeout: str = boot(
        "WORKER_API_READY_TIMEOUT_SECONDS", default="", keeps_blank=True, is_shared=True
    )
    """As it was given: `readiness` says in its own words what is wrong with it."""
