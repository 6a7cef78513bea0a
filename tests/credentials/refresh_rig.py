"""Fixtures for refreshing logins, with swarm and vendor over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.credentials.credential import LoginState
from agent_swarm_worker.credentials.refresh import Refresher
from agent_swarm_worker.credentials.store import LoginPool
from agent_swarm_worker.credentials.vendor import Vendor
from agent_swarm_worker.logs import Log

KEY = "test-api-key-0123456789"
SECRETS: list[str] = []


@asynccontextmanager
async def refresher_of(
    url: str, vendor: str, place: Path, *, clock: Clock | None = None
) -> AsyncIterator[Refresher]:
    time = clock or SystemClock()
    async with Http(url, health=ApiHealth(time, Log()), api_key=KEY, agent_id="a") as http:
        client = SwarmClient(http, ServerCapabilities(time, Log()))
        yield Refresher(
            pool=LoginPool(client.config, "a"),
            locks=client.refresh_locks,
            vendor=Vendor(vendor, clock=time, timeout_s=3),
            clock=time,
            lock_dir=place,
            on_secret=lambda _, value: SECRETS.append(value),
            state=LoginState(),
            log=Log(),
        )
