"""A process exits in time although its event loop or a thread hangs."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest
from patience import HANG_S, until
from recording_proxy import proxy_rig
from rig import harness
from worker_process import tagged, worker_process

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

SLOW_RESOLVER = """
import socket, time
really = socket.getaddrinfo
def getaddrinfo(host, *args, **kwargs):
    if host in ("swarm.invalid", b"swarm.invalid"):
        time.sleep(90)
    return really(host, *args, **kwargs)
socket.getaddrinfo = getaddrinfo
"""
STUCK_LOOP = """
import agent_swarm_worker.worker.daemon as daemon
import agent_swarm_worker.worker.loops.shutdown as shutdown
import time
async def drain_and_supersede(worker):
    time.sleep(90)
daemon.drain_and_supersede = drain_and_supersede
"""


def with_patch(place: Path, source: str, module: str = "sitecustomize") -> dict[str, str]:
    """Have a worker process run this before all else."""
    (place / f"{module}.py").write_text(source)
    return {"PYTHONPATH": str(place)}


async def test_a_name_server_that_does_not_answer_does_not_hold_the_exit_up(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("says_hi"), **with_patch(tmp_path, SLOW_RESOLVER)}
        env |= {"MCP_BASE_URL": "http://swarm.invalid:1", "SHUTDOWN_TIMEOUT": "1000"}
        async with worker_process(tmp_path, env) as worker:
            await until(lambda: list((tmp_path / "state").glob("*/alive")))
            await anyio.sleep(0.2)
            begin_s = time.monotonic()
            worker.signal()
            assert await worker.exit_code() == 0
            assert time.monotonic() - begin_s < HANG_S


@pytest.mark.long
async def test_a_loop_that_is_stuck_is_ended_and_leaves_no_process(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("deaf"), **with_patch(tmp_path, STUCK_LOOP)}
        async with worker_process(tmp_path, {**env, "SHUTDOWN_TIMEOUT": "500"}) as worker:
            await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=2)
            begin_s = time.monotonic()
            worker.signal()
            assert await worker.exit_code() == 1
            assert time.monotonic() - begin_s < HANG_S
            await until(lambda: tagged(tmp_path) == [])
