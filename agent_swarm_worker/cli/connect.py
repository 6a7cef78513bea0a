"""A client of the swarm API for commands that are no agent."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.logs import Log
from agent_swarm_worker.swarm.client import SwarmClient
from agent_swarm_worker.swarm.generations import Generations
from agent_swarm_worker.swarm.health import ApiHealth
from agent_swarm_worker.swarm.http import Http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent_swarm_worker.settings import Settings


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[SwarmClient]:
    """Open a client of the API that the settings name."""
    clock = SystemClock()
    health = ApiHealth(clock, Log())
    async with Http(
        settings.api_url,
        health=health,
        api_key=settings.api_key,
        timeout_s=settings.api_timeout_s,
    ) as http:
        yield SwarmClient(http, Generations(clock, Log()))
