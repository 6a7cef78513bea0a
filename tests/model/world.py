"""A swarm, its workers and their sessions on one virtual clock.

The workers are real: the daemon with all its loops, its HTTP client, its state directory and its
journals. Played are the harness and the wire. A crash is what SIGKILL leaves: the state directory
is put back to what lay on disk at that instant, and nothing the dying code does counts any more.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import shutil
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import anyio
from api_side import KEY, Api, named_sweeps
from fake_harness import Book, FakeAdapter, FakeSandbox, FakeSession
from network import Line, Weather
from virtual_time import VirtualClock, VirtualLoop, at_once

from agent_swarm_worker import logs
from agent_swarm_worker.errors import SwarmWorkerError
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.ids import IdSource
from agent_swarm_worker.state.database import Database
from agent_swarm_worker.worker import daemon as daemon_module
from agent_swarm_worker.worker.boot import harness as harness_module
from agent_swarm_worker.worker.boot.parts import Worker, WorkerOptions
from agent_swarm_worker.worker.boot.wiring import WorkerInputs
from agent_swarm_worker.worker.daemon import Daemon

SLOTS = 2
NOTICES_S = 30.0
"""A worker that nothing keeps from asking knows after this long what became of its task."""
DRAIN_S = 25.0
LAST_LOOK_S = 1.0
"""Between the look at a task whose session has ended, and its finish."""
AGENTS = {
    "Anna": "0a9e0000-0000-4000-8000-00000000000a",
    "Bert": "0a9e0000-0000-4000-8000-00000000000b",
}
PACE = {
    "SWARM_POLL_INTERVAL_S": "2",
    # Slow, so that a beat just after an outage is the only one that comes in time.
    "SWARM_HEARTBEAT_INTERVAL_S": "15",
    "SWARM_CANCEL_CHECK_INTERVAL_S": "3",
    "SWARM_RECONFIGURE_INTERVAL_S": "60",
    "SWARM_LOG_FLUSH_INTERVAL_S": "1",
    "SWARM_EVENTS_FLUSH_INTERVAL_S": "5",
}


def repeatable_ids(name: str) -> IdSource:
    """Return a source of ids that look random and are the same in each run."""
    counter = itertools.count(1)
    return lambda: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name} {next(counter)}"))


def _quick_place() -> TemporaryDirectory[str]:
    """Return a place whose disk is memory, where there is one."""
    in_memory = Path("/dev/shm")
    return TemporaryDirectory(prefix="model-", dir=in_memory if in_memory.is_dir() else None)


class Process:
    """One worker: its place on disk, and the process that runs in it just now, if any."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.agent_id = world, name, AGENTS[name]
        self.place = world.place / name
        self.starts = 0
        self.up_s = 0.0
        """When it was last started."""
        self.task: asyncio.Task[None] | None = None
        self.daemon: Daemon | None = None
        self.worker: Worker | None = None
        self.line: Line | None = None
        self.is_dead = False
        self.kill_points_left: int | None = None
        self.stop_asked_s: float | None = None
        self.exits: list[str] = []
        self.looked_at = 0
        """How many of the requests on the line have been judged."""

    @property
    def is_up(self) -> bool:
        return self.task is not None and not self.is_dead

    @property
    def works(self) -> bool:
        """True if it may take up work."""
        return self.is_up and self.stop_asked_s is None

    def start(self) -> None:
        self.starts += 1
        self.up_s = self.world.loop.time()
        self.is_dead, self.kill_points_left, self.stop_asked_s = False, None, None
        self.worker = self.line = None
        self.looked_at = 0
        self.daemon = self.world.make_daemon(self)
        self.task = self.world.loop.create_task(self.daemon.run(), name=self.name)

    def stop(self) -> None:
        """Send SIGTERM, once more if it was sent before."""
        assert self.daemon is not None
        if self.stop_asked_s is None:
            self.stop_asked_s = self.world.loop.time()
        self.daemon.shutdown.request("SIGTERM")

    def instant(self) -> bool:
        """Pass a moment that may be the last; true if the process is dead."""
        if self.kill_points_left is not None and not self.is_dead:
            self.kill_points_left -= 1
            if self.kill_points_left < 0:
                self.kill()
        return self.is_dead

    def kill(self) -> None:
        """SIGKILL: from here on, nothing it does is seen by anybody, nor kept."""
        self.is_dead = True
        for fake in self.world.book.alive(self.agent_id):
            self.world.book.live.pop(fake.session_uuid, None)
        if self.place.exists():
            shutil.copytree(self.place, self._kept)

    def bury(self) -> None:
        """Take what is left of a process that has ended."""
        if self.is_dead and self.task is not None:
            self.task.cancel()
            self.world.loop.run_until_complete(asyncio.wait([self.task]))
            if self._kept.exists():
                shutil.rmtree(self.place)
                self._kept.rename(self.place)
            self.exits.append("killed")
            self.task = None
        elif self.task is not None and self.task.done():
            error = self.task.exception()
            cause = error
            while isinstance(cause, ExceptionGroup):
                cause = cause.exceptions[0]
            if cause is not None and not isinstance(cause, SwarmWorkerError):
                raise cause
            self.exits.append("stopped" if error is None else "gave up")
            self.task = None

    @property
    def _kept(self) -> Path:
        return self.place.with_name(f"{self.name}-as-it-was")


class World:
    """Everything there is."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self.place = Path(self._held.enter_context(_quick_place()))
        self.loop = VirtualLoop()
        self._held.callback(self.loop.close)
        self.clock = VirtualClock(self.loop)
        self.log = io.StringIO()
        logs.configure(level="info", human=False, scrub=str, stream=self.log)
        self.book = Book(self.clock)
        self.conditions = Weather(self.loop)
        self.api = Api(self.loop)
        self._held.callback(self.api.close)
        self._starting: Process | None = None
        self._patch()
        self.processes = {name: Process(self, name) for name in AGENTS}
        self._ids = {name: repeatable_ids(name) for name in AGENTS}
        self.api.boot()
        self.wait(10)  # A server that has just started is another story.

    def close(self) -> None:
        """End everything, however it stands."""
        for process in self.processes.values():
            if process.task is not None:
                process.kill()
                process.bury()
        self._held.close()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        for process in self.processes.values():
            process.bury()

    def speakers(self) -> list[FakeSession]:
        """Return the sessions whose worker lives and hears them."""
        return [self.book.live[p.session_uuid] for p in self.book.alive() if self._is_heard(p)]

    def _is_heard(self, fake: Any) -> bool:
        process = next(p for p in self.processes.values() if p.agent_id == fake.agent_id)
        return process.is_up and fake.session_uuid in self.book.live

    def late_finishes(self, process: Process) -> list[str]:
        """Return the finishes a worker sent for tasks which, as it must know, had been taken.

        It looks once more when a session has ended, and nothing kept it from seeing.
        """
        line, late = process.line, []
        if line is None:
            return late
        for sent in line.sent[process.looked_at :]:
            if sent.call == "finish":
                taken = self._taken_at_s(sent.target.split("/")[3])
                is_late = taken is not None and sent.at_s - taken > LAST_LOOK_S
                if is_late and sent.well_for_s > NOTICES_S:
                    late.append(sent.target)
        process.looked_at = len(line.sent)
        return late

    def _taken_at_s(self, task_id: str) -> float | None:
        ends = (
            seen.at_s
            for seen in self.api.history
            if seen.task_id == task_id and seen.after in {"cancelled", "superseded"}
        )
        return next(ends, None)

    # --- how a worker is made
    def make_daemon(self, process: Process) -> Daemon:
        self._starting = process
        return Daemon(
            self._env(process),
            WorkerOptions(),
            scrubber=Scrubber(),
            clock=self.clock,
            ids=self._ids[process.name],
            handles_signals=False,
        )

    def _env(self, process: Process) -> Mapping[str, str]:
        return {
            **PACE,
            "PATH": "/usr/bin:/bin",
            "HOME": str(process.place / "home"),
            "MCP_BASE_URL": "http://swarm.test",
            "API_KEY": KEY,
            "AGENT_ID": process.agent_id,
            "AGENT_NAME": process.name,
            "HARNESS_PROVIDER": "played",
            "MAX_CONCURRENT_TASKS": str(SLOTS),
            "SHUTDOWN_TIMEOUT": str(round(DRAIN_S * 1000)),
            "STEERING_ENABLED": "true",
            "SWARM_SYNC_SKILLS": "false",
            "SWARM_STATE_DIR": str(process.place / "state"),
            "SWARM_WORKSPACE_DIR": str(process.place / "no-workspace"),
        }

    def _patch(self) -> None:
        """Put in what is played; the rest of the worker is as it is."""
        real_wire, real_run = daemon_module.wire, Database.run

        def wire(inputs: WorkerInputs, stack: AsyncExitStack) -> Worker:
            worker = real_wire(inputs, stack)
            process = next(p for p in self.processes.values() if p.agent_id == worker.agent_id)
            process.worker = worker
            process.line = Line(
                self.api, self.conditions, agent_id=worker.agent_id, instant=process.instant
            )
            worker.client.http._connections = process.line  # type: ignore[assignment]
            worker.sandbox = FakeSandbox(self.book)  # type: ignore[assignment]
            return worker

        def run(database: Database, statement: str, *values: object) -> list[tuple[Any, ...]]:
            writer = None if statement.startswith("SELECT") else self._whose(database)
            if writer is not None:
                writer.instant()
            rows = real_run(database, statement, *values)
            if writer is not None:
                writer.instant()
            return rows

        async def no_orphans(**_: Any) -> None:
            await anyio.sleep_forever()

        def create_provider(_: str) -> FakeAdapter:
            process = self._starting
            assert process is not None
            start = process.starts
            return FakeAdapter(self.book, lambda: process.is_dead or process.starts != start)

        for target, name, fake in (
            (daemon_module, "wire", wire),
            (daemon_module, "adopt_orphans", no_orphans),
            (harness_module, "create_provider", create_provider),
            (Database, "run", run),
            (anyio.to_thread, "run_sync", at_once),
        ):
            self._held.enter_context(mock.patch.object(target, name, fake))
        self._held.enter_context(named_sweeps())

    def _whose(self, database: Database) -> Process | None:
        owners = (p for p in self.processes.values() if p.place in database._path.parents)
        return next(owners, None)
