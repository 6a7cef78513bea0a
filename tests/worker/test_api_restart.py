"""The API restarts while a session is silent: the task is not done twice."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.abc import Process
from patience import until
from rig import KEY, Rig, harness, running_worker, worker_env

from agent_swarm_worker.local_swarm.sweeps import SweepSettings
from agent_swarm_worker.logs import Event

pytestmark = [pytest.mark.anyio, pytest.mark.long]


@asynccontextmanager
async def api_process(place: Path, port: int = 0) -> AsyncIterator[tuple[Process, str]]:
    """Run ``swarm-worker local``; what still runs at the end of the block is killed."""
    output = place / f"api-{len(list(place.glob('api-*')))}"
    words = ["local", "--port", str(port), "--db", str(place / "swarm.sqlite")]
    with output.open("wb") as file:
        process = await anyio.open_process(
            [sys.executable, "-m", "agent_swarm_worker", *words],
            stdin=None,
            stdout=file,
            stderr=file,
            env={"API_KEY": KEY, "PATH": os.defpath, "HOME": str(place), "SWARM_LOG_HUMAN": "1"},
        )
    try:
        await until(lambda: "http://127.0.0.1:" in output.read_text())
        found = output.read_text().partition("http://127.0.0.1:")[2]
        yield process, f"http://127.0.0.1:{''.join(c for c in found[:5] if c.isdigit())}"
    except BaseException:
        print(output.read_text())
        raise
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_a_killed_api_does_not_have_a_quiet_task_done_twice(tmp_path: Path):
    go_on = tmp_path / "go-on"
    env = {**harness("waits", go_on), "SWARM_HEARTBEAT_INTERVAL_S": "3"}
    async with (
        api_process(tmp_path) as (first, url),
        httpx2.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=10, verify=False
        ) as api,
    ):
        rig = Rig(url, tmp_path, api, worker_env(url, tmp_path))
        with rig.keeping_the_log():
            async with running_worker(rig, env):
                task_id = await rig.submit()
                await until(lambda: len(rig.logged(Event.SESSION_OUTPUT)) >= 2)
                said = len(rig.logged(Event.SESSION_OUTPUT))
                first.send_signal(signal.SIGKILL)
                await first.wait()
                await until(lambda: rig.logged(Event.API_UNREACHABLE))
                async with api_process(tmp_path, port=int(url.rpartition(":")[2])):
                    # Its sweep gives up what has not beaten since a while before its start.
                    sweeps = SweepSettings()
                    await anyio.sleep(sweeps.first_after_s + sweeps.reboot_skew_s)
                    assert (await rig.task(task_id))["status"] == "in_progress"
                    assert len(rig.logged(Event.SESSION_OUTPUT)) == said
                    go_on.touch()
                    assert (await rig.until_ended(task_id))["output"] == "done at last"
                    assert len((await rig.get("/api/tasks"))["tasks"]) == 1
                    await rig.settled(task_id)
