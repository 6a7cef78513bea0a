"""Run a schedule of faults under load, wait for recovery, and compare the records."""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from chaos.disk import small_disk
from chaos.ledger import Facts, ledger
from chaos.plan import Action, Step
from chaos.report import Row, find_secret
from chaos.stored import TERMINAL, read_logs, read_swarm, read_worker
from chaos.truth import read_truth
from chaos.world import AGENT, Usage, World, until

WAITING = 4
"""How many pieces of work wait while things break."""
KEPT_ALIVE_S = 10.0
NO_DISK = "no disk is filled"
SETTLE_S = 120.0
MAX_MORE_FILES, MAX_MORE_THREADS, MAX_MORE_MB = 4, 8, 60.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Report:
    """What came of it."""

    seed: int
    run_dir: Path
    rows: list[Row]
    steps: list[str] = field(default_factory=list)
    """What was done, with its time."""
    tasks: int = 0
    runs: int = 0
    requests: int = 0
    harmed: int = 0
    took_s: float = 0.0
    settled_in_s: float = 0.0
    drained_in_s: float = 0.0
    before: Usage | None = None
    after: Usage | None = None

    @property
    def is_good(self) -> bool:
        """True if nothing is wrong."""
        return not any(row.wrong for row in self.rows)


class Runner:
    """Carries a plan out."""

    def __init__(
        self, run_dir: Path, plan: list[Step], *, seed: int, slots: int, strict: bool, say: Say
    ) -> None:
        self._run_dir, self._plan, self._seed = run_dir, plan, seed
        self._slots, self._strict, self._say = slots, strict, say
        self._secret = f"tok+{secrets.token_hex(12)}/=x"
        self._submitted: set[str] = set()
        self._session_killed: set[str] = set()
        self._steps: list[str] = []
        self._began = time.monotonic()
        self._rng = random.Random(f"{seed} while it runs")

    async def run(self) -> Report:
        """Run, and compare."""
        wants_disk = any(step.action == Action.DISK_FULL for step in self._plan)
        with small_disk(self._run_dir / "disk", wanted=wants_disk) as disk:
            world = World(
                self._run_dir, disk, seed=self._seed, slots=self._slots, secret=self._secret
            )
            try:
                async with world.proxy:
                    report = await self._in(world)
            finally:
                with anyio.CancelScope(shield=True):
                    await world.close()
                left = await self._end_what_is_left(world)
        report.rows = self._ledger(world, report, left)
        report.took_s = time.monotonic() - self._began
        return report

    async def _in(self, world: World) -> Report:
        await world.start_api()
        await world.start_worker()
        report = Report(self._seed, self._run_dir, [])
        await until(lambda: world.ask("GET", f"/api/agents/{AGENT}"), 30)
        await anyio.sleep(0.5)
        report.before = world.usage()
        async with anyio.create_task_group() as group:
            group.start_soon(self._submit, world)
            group.start_soon(world.watch_worker)
            async with anyio.create_task_group() as breaking:
                begun = time.monotonic()
                for step in self._plan:
                    await anyio.sleep(max(0.0, begun + step.at_s - time.monotonic()))
                    breaking.start_soon(self._carry_out, world, step)
            world.heal()
            self._note("everything heals")
            group.cancel_scope.cancel()
        async with anyio.create_task_group() as group:
            group.start_soon(world.watch_worker)
            begun = time.monotonic()
            await until(lambda: self._is_settled(world), SETTLE_S)
            report.settled_in_s = time.monotonic() - begun
            group.cancel_scope.cancel()
        # Idle connections are kept for seconds; a leak for ever.
        limit = report.before.files + MAX_MORE_FILES
        await until(lambda: world.usage().files <= limit, KEPT_ALIVE_S)
        report.after = world.usage()
        self._note("the worker is told to leave")
        report.drained_in_s = await world.terminate_worker()
        await world.stop_api()
        report.requests = len(world.proxy.seen)
        report.harmed = sum(seen.fault is not None for seen in world.proxy.seen)
        return report

    # --- work
    async def _submit(self, world: World) -> None:
        """Keep some work waiting."""
        number = 0
        while True:
            tasks = await world.ask("GET", "/api/tasks", params={"status": "pending"})
            waiting = len(tasks["tasks"]) if tasks else WAITING
            for _ in range(WAITING - waiting):
                number += 1
                body = {"task": f"chaos:{number}: say your lines", "agentId": AGENT}
                # The answer may be lost with the API, the task never: so all are found below.
                await world.ask("POST", "/api/tasks", json=body)
            await anyio.sleep(0.3)

    async def _is_settled(self, world: World) -> bool:
        tasks = await world.ask("GET", "/api/tasks", params={"limit": 5000})
        rows = await world.ask("GET", "/api/active-sessions")
        if tasks is None or rows is None or rows["sessions"]:
            return False
        self._submitted |= {task["id"] for task in tasks["tasks"]}
        return all(task["status"] in TERMINAL for task in tasks["tasks"])

    # --- harm
    async def _carry_out(self, world: World, step: Step) -> None:
        match step.action:
            case Action.REQUEST:
                assert step.fault is not None
                world.proxy.next(step.fault, _matches(step.pattern), times=step.times)
                self._note(str(step))
            case Action.OUTAGE:
                self._note(str(step))
                world.proxy.set(step.fault)
                await anyio.sleep(step.for_s)
                world.proxy.set(None)
            case Action.API_KILL:
                await self._api_kill(world, step)
            case Action.WORKER_KILL | Action.WORKER_TERM:
                await self._worker_end(world, step)
            case Action.WORKER_STOP:
                async with world.lock:
                    self._note(str(step))
                    await world.stop_worker(step.for_s)
            case Action.CHILD_KILL:
                self._child_kill(world)
            case Action.DISK_FULL:
                await self._disk_full(world, step)
            case Action.CLOCK:
                self._note(str(step))
                world.jump(step.jump_s)

    async def _api_kill(self, world: World, step: Step) -> None:
        self._note(str(step))
        if step.fault is not None:
            world.proxy.set(step.fault)
        await world.kill_api()
        await anyio.sleep(step.for_s)
        await world.start_api()
        world.deaths.api_restarted.append(time.monotonic())
        if step.fault is not None:
            world.proxy.set(None)

    async def _disk_full(self, world: World, step: Step) -> None:
        if not world.disk.is_mounted:
            self._note(f"{NO_DISK}, as nothing can be mounted here")
            return
        self._note(str(step))
        await anyio.to_thread.run_sync(world.disk.fill)
        await anyio.sleep(step.for_s)
        world.disk.free()

    async def _worker_end(self, world: World, step: Step) -> None:
        async with world.lock:
            self._note(str(step))
            with world.worker_away():
                if step.action == Action.WORKER_KILL:
                    await world.kill_worker()
                else:
                    await world.terminate_worker()
                await anyio.sleep(step.for_s)
                await world.start_worker()

    def _child_kill(self, world: World) -> None:
        living = set(world.sessions())
        runs = [run for run in read_truth(world.truth).values() if run.pid in living]
        if not runs:
            self._note("session killed: there was none")
            return
        run = self._rng.choice(sorted(runs, key=lambda run: run.started))
        self._session_killed.add(run.run)
        self._note(f"session killed: run {run.run} of task {run.task[:8]}")
        try:
            os.kill(run.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    # --- the end
    async def _end_what_is_left(self, world: World) -> list[str]:
        left = world.sessions()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return [str(pid) for pid in left]

    def _ledger(self, world: World, report: Report, left: list[str]) -> list[Row]:
        report.steps = self._steps
        # Not the truth, which holds the secret; nor the process that was given it.
        files = [
            f for f in self._run_dir.rglob("*") if f.is_file() and world.truth not in f.parents
        ]
        leaks, searched = find_secret(self._secret, files)
        deaths, kept = world.deaths, read_worker(world.disk.path)
        read_logs(kept, self._run_dir.glob("worker-*.log"))
        facts = Facts(
            runs=read_truth(world.truth),
            stored=read_swarm(self._run_dir / "swarm.sqlite"),
            kept=kept,
            worker_killed_at=deaths.worker_killed,
            worker_ended_at=deaths.worker_ended,
            worker_stopped=deaths.worker_stopped,
            worker_away=deaths.worker_away,
            api_restarted_at=deaths.api_restarted,
            session_killed=self._session_killed,
            submitted=self._submitted,
            processes_left=left,
            leaks=leaks,
            searched_bytes=searched,
            slots=self._slots,
            full_disks=sum("disk full" in step for step in self._steps),
            strict=self._strict,
        )
        report.tasks, report.runs = len(facts.stored.tasks), len(facts.runs)
        return [
            *ledger(facts),
            Row("the worker ends when it is told to", len(deaths.worker_ended), deaths.surprises),
            _growth(report),
        ]

    def _note(self, text: str) -> None:
        line = f"{time.monotonic() - self._began:7.2f}s  {text}"
        self._steps.append(line)
        self._say(line)


def _growth(report: Report) -> Row:
    before, after = report.before, report.after
    row = Row("the worker has not grown")
    if before is None or after is None:
        return row
    limits = {"files": MAX_MORE_FILES, "threads": MAX_MORE_THREADS, "rss_mb": MAX_MORE_MB}
    for name, limit in limits.items():
        row.counted += 1
        was, is_now = getattr(before, name), getattr(after, name)
        if is_now - was > limit:
            row.wrong.append(f"{name}: {was:g} → {is_now:g}")
    return row


def _matches(pattern: str) -> Any:
    import re

    compiled = re.compile(pattern)
    return lambda method, path: compiled.match(f"{method} {path}") is not None
