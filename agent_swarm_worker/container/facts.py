"""What the swarm says about this container, asked once and with a time limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.swarm.client import SwarmClient
from agent_swarm_worker.swarm.generations import Generations
from agent_swarm_worker.swarm.health import ApiHealth
from agent_swarm_worker.swarm.http import Http

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.settings import Settings
    from agent_swarm_worker.swarm.surroundings import SetupScripts
    from agent_swarm_worker.swarm.wire import ConfigRow, Repo


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
        client = SwarmClient(http, Generations(clock, log))

        async def rows() -> None:
            facts.rows = await client.config.resolved(agent_id)

        async def scripts() -> None:
            facts.scripts = await client.surroundings.setup_scripts(agent_id)

        async def repos() -> None:
            facts.repos = await client.surroundings.repos_to_clone()

        async with anyio.create_task_group() as questions:
            for question in (rows, scripts, repos):
                questions.start_soon(_best_effort, question, log)
    return facts


async def _best_effort(question: Callable[[], Awaitable[None]], log: Log) -> None:
    try:
        await question()
    except ApiError as error:
        log.warning(Event.BOOT_STEP, step=question.__name__, why=str(error))
