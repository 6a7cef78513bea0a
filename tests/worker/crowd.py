"""Runs many sessions at once on one worker, and checks each of them."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
from patience import until
from recording_proxy import RecordingProxy, proxy_rig
from rig import AGENT, Rig, harness, running_worker
from worker_process import tagged

from agent_swarm_worker.logs import Event

PACE = {
    "SWARM_POLL_INTERVAL_S": "0.05",
    "SWARM_HEARTBEAT_INTERVAL_S": "0.5",
    "SWARM_CANCEL_CHECK_INTERVAL_S": "0.2",
    "SWARM_LOG_FLUSH_INTERVAL_S": "0.3",
    "SWARM_EVENTS_FLUSH_INTERVAL_S": "0.5",
}
DELAY_S = 0.02
ROUNDS = 6
MAX_BEAT_GAP_S = 6.0


@dataclass
class Crowd:
    """The tasks of one run, by their numbers."""

    rig: Rig
    proxy: RecordingProxy
    place: Path
    ids: list[str]
    went_on_at_s: float = 0.0
    """When those in the middle of their session were told to go on."""

    @property
    def count(self) -> int:
        return len(self.ids)

    def pid(self, number: int) -> int:
        return int((self.place / "half" / str(number)).read_text())

    def at_half(self) -> int:
        """How many wait in the middle of their session."""
        return len([path for path in (self.place / "half").iterdir() if not path.suffix])

    def printed(self, number: int) -> list[str]:
        return (self.place / "printed" / self.ids[number]).read_text().splitlines()

    async def is_complete(self, number: int, *, rounds: int = ROUNDS) -> None:
        """Everything a session said is stored under its own task, in order, and once."""
        rig, task_id = self.rig, self.ids[number]
        printed = self.printed(number)
        assert len(printed) == 2 + 5 * rounds + (rounds == ROUNDS)
        said = [row["content"] for row in await rig.logs(task_id)]
        # Not its own are the last words of an interrupted Python, and what the worker notes.
        assert [line for line in said if "of" in json.loads(line)] == printed
        events = [
            (row["event"], row["data"]["toolCallId"])
            for row in await rig.events(task_id)
            if row["event"].startswith("tool.")
        ]
        assert sorted(events) == sorted(
            (kind, f"call-{n}") for kind in ("tool.start", "tool.end") for n in range(rounds)
        )
        snapshots = (await rig.get(f"/api/tasks/{task_id}/context"))["snapshots"]
        used = [row["contextUsedTokens"] for row in snapshots if row["eventType"] == "progress"]
        compacted = [row["preCompactTokens"] for row in snapshots if "preCompactTokens" in row]
        assert used == [number]
        assert compacted == [1000 * number + n for n in range(rounds)]
        task = await rig.task(task_id)
        assert task["claudeSessionId"] == f"session-of-{task_id}"
        words = [row["newValue"] for row in task["logs"] if row["eventType"] == "task_progress"]
        assert words
        assert all(word.startswith("step ") == (task_id in word) for word in words), words

    async def succeeded(self, number: int) -> None:
        """A session that nobody disturbed."""
        await self.is_complete(number)
        task_id = self.ids[number]
        task = await self.rig.task(task_id)
        assert (task["status"], task["output"]) == ("completed", f"result of {task_id}")
        assert [row["totalCostUsd"] for row in await self.rig.costs(task_id)] == [number / 100]

    def gaps_s(self, number: int) -> list[float]:
        """The seconds between a session's signs of life, while all of them ran."""
        task_id = self.ids[number]
        announced = self.proxy.seen("POST /api/active-sessions$")
        signs = [visit for visit in announced if task_id.encode() in visit.body]
        signs += self.proxy.seen(f"heartbeat/{task_id}")
        times = [visit.at_s for visit in signs if visit.at_s < self.went_on_at_s]
        return [later - earlier for earlier, later in pairwise([*times, self.went_on_at_s])]


async def a_crowd_at_once(place: Path, count: int, *, linger_s: float = 0.0, **env: str) -> Crowd:
    """Run `count` sessions side by side; one is cancelled, and one loses its process.

    Args:
        place: for all files.
        count: of sessions, at least 3. Number 1 is cancelled, number 2 is killed.
        linger_s: how long all stay in the middle.
        env: settings in addition.
    """
    for name in ("half", "printed"):
        (place / name).mkdir()
    settings = {**harness("crowd", place), **PACE, "MAX_CONCURRENT_TASKS": str(count), **env}
    async with proxy_rig(place) as (rig, proxy):
        proxy.delay(".", DELAY_S)
        async with running_worker(rig, settings):
            ids = [
                await rig.submit(f"number={n}{' stays' if n in {1, 2} else ''}")
                for n in range(count)
            ]
            crowd = Crowd(rig, proxy, place, ids)
            await until(lambda: crowd.at_half() == count, within_s=40)
            assert not rig.logged(Event.SESSION_ENDED)
            await anyio.sleep(linger_s)
            await rig.post(f"/api/tasks/{ids[1]}/cancel")
            os.kill(crowd.pid(2), signal.SIGKILL)
            crowd.went_on_at_s = time.monotonic()
            (place / "go").touch()
            for task_id in ids:
                await rig.until_ended(task_id, within_s=40)
            await _all_told(rig)
            await _judge(crowd)
        assert tagged(place) == []
    return crowd


async def _all_told(rig: Rig) -> None:
    async def told() -> bool:
        return not (await rig.get("/api/active-sessions", agentId=AGENT))["sessions"]

    await rig.until(told, within_s=30)


async def _judge(crowd: Crowd) -> None:
    for number in {*range(crowd.count)} - {1, 2}:
        await crowd.succeeded(number)
    for number in (1, 2):
        await crowd.is_complete(number, rounds=ROUNDS // 2)
    cancelled, killed = await crowd.rig.task(crowd.ids[1]), await crowd.rig.task(crowd.ids[2])
    assert (cancelled["status"], killed["status"]) == ("cancelled", "failed")
    assert "137" in killed["failureReason"]
    rows: list[dict[str, Any]] = (await crowd.rig.get("/api/session-costs", limit=1000))["costs"]
    assert len(rows) == crowd.count - 2
    assert len({row["sessionId"] for row in rows}) == crowd.count - 2
    everything = (await crowd.rig.get("/api/tasks", limit=1000))["tasks"]
    assert {task["id"] for task in everything} == {*crowd.ids}, json.dumps(everything)[:500]
