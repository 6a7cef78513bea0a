"""Heartbeats of many tasks: all at once after an outage, few at once while the API hangs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from patience import until
from recording_proxy import QuickClock, RecordingProxy, proxy_rig, restartable_rig
from rig import AGENT, KEY, Rig

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Log
from agent_swarm_worker.worker.loops.heartbeat import MAX_CONCURRENT_BEATS, Heartbeat
from agent_swarm_worker.worker.run.running_task import RunningTask, Slots

pytestmark = pytest.mark.anyio

TASKS = 40
LONG_S = 300.0
"""A call that hangs is not given up by itself while a test looks."""


@asynccontextmanager
async def beating(
    rig: Rig, proxy: RecordingProxy, *, every_s: float, clock: Clock | None = None
) -> AsyncIterator[SwarmClient]:
    """Run a heartbeat for many tasks that are on record."""
    proxy.say("heartbeat/", {"updated": True})
    clock, slots = clock or SystemClock(), Slots(TASKS)
    for number in range(TASKS):
        task = RunningTask(f"t{number}", True, f"s{number}", "task_assigned", session_row=True)
        slots.add(task)
    health = ApiHealth(clock)
    http = Http(rig.url, health=health, api_key=KEY, agent_id=AGENT, timeout_s=LONG_S)
    async with http, anyio.create_task_group() as group:
        client = SwarmClient(http, ServerCapabilities(clock))
        await client.sessions.heartbeat("proof")  # or the first beat of all would go alone
        settings = SimpleNamespace(heartbeat_interval_s=every_s)
        parts: Any = {"client": client, "slots": slots, "clock": clock, "settings": settings}
        worker = SimpleNamespace(**parts, log=Log(), agent_id=AGENT)
        group.start_soon(Heartbeat(cast("Any", worker)).run)
        yield client
        group.cancel_scope.cancel()


def beaten(proxy: RecordingProxy, since_s: float = 0.0) -> set[str]:
    return {visit.path for visit in proxy.seen("heartbeat/t") if visit.at_s > since_s}


class RoundsClock(SystemClock):
    """A clock on which the sleep between two rounds of beats is short; it counts them."""

    def __init__(self, round_s: float) -> None:
        self.rounds, self._round_s = 0, round_s

    async def sleep(self, seconds: float) -> None:
        if seconds == self._round_s:
            await anyio.sleep(0.05)
            self.rounds += 1
        else:
            await super().sleep(seconds)


async def asked(client: SwarmClient) -> None:
    with suppress(ApiError):
        await client.tasks.is_cancelled("t0")


async def test_all_beat_at_the_first_success_after_an_outage(tmp_path):
    async with (
        restartable_rig(tmp_path) as (rig, proxy, swarm),
        beating(rig, proxy, every_s=600) as client,
    ):
        await until(lambda: len(beaten(proxy)) == TASKS)
        await swarm.stop()
        await asked(client)
        assert client.http.health.is_down
        await swarm.start()
        began_s = anyio.current_time()
        await asked(client)
        await until(lambda: len(beaten(proxy, began_s)) == TASKS)


async def test_beats_do_not_pile_up_before_an_api_that_hangs(tmp_path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        held = proxy.hold("heartbeat/t", times=1000)
        proxy.say("cancelled-tasks", {"cancelled": []})
        clock = RoundsClock(round_s=60)  # and a beat is given up after twice that
        async with beating(rig, proxy, every_s=60, clock=clock) as client:
            await until(lambda: len(proxy.seen("heartbeat/t")) == MAX_CONCURRENT_BEATS)
            # Rounds later, no more wait than may, and there are connections for all the rest.
            rounds = clock.rounds
            await until(lambda: clock.rounds >= rounds + 4)
            await client.tasks.is_cancelled("t0")
            assert len(proxy.seen("cancelled-tasks")) == 1
            assert len(proxy.seen("heartbeat/t")) == MAX_CONCURRENT_BEATS
        held.open.set()


async def test_beats_that_hang_do_not_delay_those_after_the_outage(tmp_path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        held = proxy.hold("heartbeat/t", times=1000)
        async with beating(rig, proxy, every_s=600) as client:
            await held.reached.wait()
            proxy.be_open()
            proxy.say("heartbeat/", {"updated": True})
            proxy.refuse("cancelled-tasks", 503, times=1)
            await asked(client)
            began_s = anyio.current_time()
            await asked(client)
            await until(lambda: len(beaten(proxy, began_s)) == TASKS)
        held.open.set()


async def test_many_are_looked_at_together_and_one_by_itself_that_the_list_does_not_clear(tmp_path):
    going_on = [
        {"id": f"t{number}", "status": "in_progress", "agentId": AGENT, "task": "x"}
        for number in range(TASKS)
    ]
    del going_on[7]
    going_on[8] |= {"wasPaused": True}  # t9
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.say(r"GET /api/tasks\?", {"tasks": going_on})
        proxy.say("GET /api/tasks/t", {"id": "t", "status": "in_progress", "agentId": AGENT})
        async with beating(rig, proxy, every_s=600, clock=QuickClock(20)):
            await until(lambda: len(proxy.seen(r"GET /api/tasks\?")) >= 3)
        looked_at = {visit.path for visit in proxy.seen("GET /api/tasks/t")}
        assert looked_at == {"/api/tasks/t7?logsLimit=1", "/api/tasks/t9?logsLimit=1"}


async def test_each_is_looked_at_by_itself_while_the_list_cannot_be_had(tmp_path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse(r"GET /api/tasks\?", 500)
        proxy.say("GET /api/tasks/t", {"id": "t", "status": "in_progress", "agentId": AGENT})
        async with beating(rig, proxy, every_s=600, clock=QuickClock(20)):
            await until(lambda: len({v.path for v in proxy.seen("GET /api/tasks/t")}) == TASKS)
