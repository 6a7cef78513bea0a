"""Waiting for the API before anything depends on it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.container.settings import ContainerSettings
from agent_swarm_worker.errors import ApiError, ContainerError
from agent_swarm_worker.swarm.client import SwarmClient
from agent_swarm_worker.swarm.generations import Generations
from agent_swarm_worker.swarm.health import ApiHealth
from agent_swarm_worker.swarm.http import Http

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.settings import Settings

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
        client = SwarmClient(http, Generations(clock))
        with anyio.move_on_after(limit_s):
            while True:
                try:
                    await client.surroundings.health()
                except ApiError:
                    await clock.sleep(PAUSE_S)
                else:
                    return
        url = f"{http.shown_url}/health"
        raise ContainerError(f"API readiness timed out after {limit_s}s waiting for {url}")
