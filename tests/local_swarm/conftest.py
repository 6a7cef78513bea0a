"""Running servers: the local swarm, or for the contract the one that the environment names.

Tests that use `api` hold for any server of the API, share it with others, and so use agents of
their own. Tests that use `local` have a new one each, move its clock or know that it is empty.
To check another server: SWARM_CONTRACT_URL and SWARM_CONTRACT_KEY here, STEERING_ENABLED=true in
its environment. Let it be up for ten seconds first: its reboot sweep fails what runs by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from local_swarm_api import KEY, PUBLIC_KEY, PUBLIC_URL, Api, HandClock, Local, client

from agent_swarm_worker.local_swarm.serve import LocalSwarm
from agent_swarm_worker.local_swarm.sweeps import SweepSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """As for all tests, but kept for a module, so that its tests can share a server."""
    return "asyncio"


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[tuple[str, str]]:
    """URL and key of the server that the contract is checked on."""
    if PUBLIC_URL:
        yield PUBLIC_URL, PUBLIC_KEY
        return
    # The reboot sweep would fail what runs when it comes, which is a matter of the machine's speed.
    async with LocalSwarm(api_key=KEY, sweeps=SweepSettings(enabled=False)) as swarm:
        yield swarm.url, KEY


@pytest.fixture(scope="module")
async def api(server: tuple[str, str]) -> AsyncIterator[Api]:
    async with client(*server) as http:
        yield Api(http)


@pytest.fixture
async def local() -> AsyncIterator[Local]:
    if PUBLIC_URL:
        pytest.skip("needs the local swarm")
    clock = HandClock()
    off = SweepSettings(enabled=False)
    async with LocalSwarm(clock=clock, sweeps=off) as swarm, client(swarm.url, "") as http:
        yield Local(http, clock, swarm.url)
