"""Measure a worker with fifty concurrent sessions: CPU, memory, requests, and lost lines.

All sessions print at an even pace. Worker and API are separate processes; CPU, memory and requests
are those of the worker.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks import ledger, processes
from benchmarks.probe import look
from benchmarks.processes import Lead, Swarm

if TYPE_CHECKING:
    import subprocess

    from benchmarks.probe import Sample

SESSIONS = 50
LINES, SECONDS = 300, 30.0
IDLE_S = 10.0
MAX_BEAT_AGE_S = 6.0
"""After its own restart the server waits five seconds for a beat, and counts those of the five
seconds before; a beat is due every three."""


def measure() -> dict[str, Any]:
    """Return what 50 sessions cost, and what the same worker costs without any."""
    with tempfile.TemporaryDirectory() as run_dir:
        return anyio.run(run, Path(run_dir), SESSIONS, LINES, SECONDS)


async def run(run_dir: Path, sessions: int, lines: int, seconds: float) -> dict[str, Any]:
    """Run the crowd.

    Args:
        run_dir: for all files.
        sessions: how many at once.
        lines: that each prints.
        seconds: that each takes for them.
    """
    async with AsyncExitStack() as held:
        # No sweep after the start: it would fail a claim that is not announced yet.
        swarm = Swarm(run_dir, first_sweep_s=0.0)
        held.callback(swarm.kill)
        await swarm.start()
        lead = Lead(swarm.url)
        held.push_async_callback(lead.close)
        settings = {"MAX_CONCURRENT_TASKS": str(sessions)}
        process = await held.enter_async_context(processes.worker(run_dir, swarm.url, **settings))
        with anyio.fail_after(processes.WAIT_S):
            await processes.until(lead.is_registered)
        idle = await _idle(process, run_dir, lead)
        before, asked_before = (
            look(process.pid, run_dir, at_s=0, tasks_done=0),
            await _asked(lead),
        )
        began_s = time.monotonic()
        ids = [await lead.submit(lines, seconds) for _ in range(sessions)]
        beats = _Beats(lead)
        samples: list[Sample] = []
        async with anyio.create_task_group() as group:
            group.start_soon(beats.watch)
            group.start_soon(_sample, process.pid, run_dir, samples)
            with anyio.fail_after(processes.WAIT_S + seconds * 4):
                await processes.until(partial(_are_over, lead, set(ids)), every_s=0.5)
            group.cancel_scope.cancel()
        wall_s = time.monotonic() - began_s
        after, asked = look(process.pid, run_dir, at_s=0, tasks_done=0), await _asked(lead)
        made = await ledger.made_of(lead)
        told = [await ledger.account(lead, run_dir, task, made) for task in ids]
    requests = {name: asked[name] - asked_before.get(name, 0) for name in asked}
    cpu_s = after.cpu_s - before.cpu_s
    return {
        "sessions": sessions,
        "at_once": beats.at_once,
        "lines": sessions * lines,
        "wall_s": round(wall_s, 1),
        "wrong": [one.as_json() for one in told if not one.is_right],
        "cpu_s": round(cpu_s, 2),
        "cpu_ms_per_session": round(cpu_s / sessions * 1000, 1),
        "cpu_percent_of_a_core": round(cpu_s / wall_s * 100, 1),
        "peak_rss_mb": round(max(sample.rss_mb for sample in samples), 1),
        "peak_descriptors": max(sample.descriptors for sample in samples),
        "worst_beat_age_s": round(beats.worst_s, 2),
        "requests_per_s": round(sum(requests.values()) / wall_s, 1),
        "requests_per_session": {
            name: round(count / sessions, 2)
            for name, count in sorted(requests.items(), key=lambda item: -item[1])
            if count
        },
        "idle": idle,
    }


async def _idle(process: subprocess.Popen[bytes], run_dir: Path, lead: Lead) -> dict[str, float]:
    """Return what the worker does while it has nothing to do."""
    await anyio.sleep(2)
    before, asked = look(process.pid, run_dir, at_s=0, tasks_done=0), await _asked(lead)
    await anyio.sleep(IDLE_S)
    after, asked_after = look(process.pid, run_dir, at_s=0, tasks_done=0), await _asked(lead)
    return {
        "requests_per_s": round((sum(asked_after.values()) - sum(asked.values())) / IDLE_S, 2),
        "cpu_percent_of_a_core": round((after.cpu_s - before.cpu_s) / IDLE_S * 100, 2),
        "rss_mb": round(after.rss_mb, 1),
    }


async def _asked(lead: Lead) -> dict[str, int]:
    return await lead.get(processes.REQUESTS)


async def _sample(pid: int, run_dir: Path, samples: list[Sample]) -> None:
    while True:
        samples.append(look(pid, run_dir, at_s=0, tasks_done=0))
        await anyio.sleep(0.5)


async def _are_over(lead: Lead, ids: set[str]) -> bool:
    listed = (await lead.get("/api/tasks", limit=ledger.PAGE))["tasks"]
    rows = (await lead.get("/api/active-sessions"))["sessions"]
    over = {task["id"] for task in listed if task["status"] not in {"pending", "in_progress"}}
    return ids <= over and not rows


class _Beats:
    """How old the last beat of a running session ever got."""

    def __init__(self, lead: Lead) -> None:
        self._lead = lead
        self.worst_s = 0.0
        self.at_once = 0

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            now = datetime.now(UTC)
            rows = (await self._lead.get("/api/active-sessions"))["sessions"]
            self.at_once = max(self.at_once, len(rows))
            for row in rows:
                beat = datetime.fromisoformat(row["lastHeartbeatAt"])
                self.worst_s = max(self.worst_s, (now - beat).total_seconds())
            await anyio.sleep(0.2)
