"""A local swarm process that can be killed, with sweep intervals short enough for a chaos run.

``python -m chaos.api <port> <database>``, the key in ``API_KEY``.
"""

from __future__ import annotations

import os
import sys

import anyio

from agent_swarm_worker.local_swarm.serve import LocalSwarm
from agent_swarm_worker.local_swarm.sweeps import SweepSettings

SWEEPS = SweepSettings(first_after_s=4, every_s=4, no_session_s=15, stale_heartbeat_s=45)
"""The reboot sweep comes nearly as soon as the public server's, the others much sooner: whatever
is lost has to show within a run of minutes."""
QUIET_AFTER_BOOT_S = SWEEPS.first_after_s + 2
"""For so long after a restart a worker must be able to beat; a dead one may not come back later."""


async def serve(port: int, db: str) -> None:
    async with LocalSwarm(db, os.environ["API_KEY"], "127.0.0.1", port, sweeps=SWEEPS):
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(serve, int(sys.argv[1]), sys.argv[2])
