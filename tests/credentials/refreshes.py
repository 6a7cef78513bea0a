"""Takes the place of a worker that needs slot 0: prints the access token it ends up with.

``refreshes.py <swarm> <vendor> <lock directory> <when to start>``
"""

import sys
import time
from pathlib import Path

import anyio
from refresh_rig import refresher_of

from agent_swarm_worker import logs
from agent_swarm_worker.credentials.credential import CodexCredential
from agent_swarm_worker.errors import SwarmWorkerError


async def main() -> None:
    url, vendor, place, start_at_s, value = sys.argv[1:]
    async with refresher_of(url, vendor, Path(place)) as refresher:
        known = CodexCredential.parse(value)
        await anyio.sleep(max(0.0, float(start_at_s) - time.time()))
        try:
            login = await refresher.usable(0, known)
        except SwarmWorkerError as error:
            print(f"{type(error).__name__}: {error}")
        else:
            print(login.access)


logs.configure(level="error")
anyio.run(main)
