"""The daemon: wires a worker and owns the task group that all its loops live in.

    run ─┬─ signals ─ outbox ─ orphans ─ liveness         for as long as the process lives
         ├─ boot                                          once
         ├─ poll · heartbeat · ping · cancellation ·      until the shutdown is over
         │  reconfigure · steering · retention
         └─ sessions: one task each                       drained by the shutdown

A loop that dies takes the worker down with its error: half a worker is worse than none.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.ids import IdSource, random_ids
from agent_swarm_worker.imports import freeze_imported
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.processes.subreaper import adopt_orphans
from agent_swarm_worker.worker.boot.environment import Environment
from agent_swarm_worker.worker.boot.harness import Harness
from agent_swarm_worker.worker.boot.registration import reconfigure_loop
from agent_swarm_worker.worker.boot.sequence import boot
from agent_swarm_worker.worker.boot.wiring import Parts, wire
from agent_swarm_worker.worker.loops.cancellation import cancellation_loop
from agent_swarm_worker.worker.loops.heartbeat import Heartbeat, ping_loop
from agent_swarm_worker.worker.loops.housekeeping import liveness_loop, retention_loop
from agent_swarm_worker.worker.loops.poll import Poller
from agent_swarm_worker.worker.loops.run_policy import RunPolicy
from agent_swarm_worker.worker.loops.shutdown import (
    LEAVE_WITHIN_S,
    OVERTIME_S,
    ExitTimer,
    Shutdown,
    go_down,
    say_goodbye,
)
from agent_swarm_worker.worker.loops.steering import Steering

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import TaskGroup, TaskStatus

    from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
    from agent_swarm_worker.worker.boot.parts import Worker, WorkerOptions

SETTLE_AFTER_S = 1.0


class Daemon:
    """One worker process, from its environment to its exit."""

    def __init__(
        self,
        env: Mapping[str, str],
        options: WorkerOptions,
        *,
        scrubber: Scrubber,
        clock: Clock | None = None,
        ids: IdSource = random_ids,
        handles_signals: bool = True,
    ) -> None:
        """Read the settings.

        Args:
            env: the environment; nothing else is read.
            options: what the command line adds.
            scrubber: the process's; the same that guards its log lines.
            clock: time.
            ids: makes the runtime and session ids.
            handles_signals: false where somebody else in the process does.

        Raises:
            ConfigError: a setting cannot be used.
        """
        self._log = Log()
        self._options = options
        self._clock = clock or SystemClock()
        self._ids = ids
        self._scrubber = scrubber
        self._environment = Environment(env, scrubber=scrubber, log=self._log)
        self._harness = Harness(env, log=self._log)
        self._handles_signals = handles_signals
        self.shutdown = Shutdown(log=self._log)
        self._exit_timer = ExitTimer()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Work until a shutdown is over; says that it has started before the first poll.

        Raises:
            SwarmWorkerError: the worker cannot start.
        """
        async with AsyncExitStack() as held:
            parts = Parts(
                options=self._options,
                environment=self._environment,
                harness=self._harness,
                shutdown=self.shutdown,
                scrubber=self._scrubber,
                clock=self._clock,
                ids=self._ids,
                log=self._log,
            )
            worker = await wire(parts, held)
            self.shutdown.last_act = partial(_kill_sessions, worker)
            async with anyio.create_task_group() as group:
                if self._handles_signals:
                    group.start_soon(self.shutdown.watch_signals)
                    group.start_soon(self._end_in_time, worker)
                group.start_soon(worker.outbox.run)
                group.start_soon(partial(adopt_orphans, clock=worker.clock))
                group.start_soon(liveness_loop, worker)
                if await self._boot_unless_stopped(worker, group):
                    task_status.started()
                    await self._work(worker)
                if worker.facts.agent is not None:
                    await say_goodbye(worker)
                group.cancel_scope.cancel()
            self._log.info(Event.WORKER_STOPPED, undelivered=worker.outbox.pending() or None)
        if self._handles_signals:
            self._exit_timer.end_within(LEAVE_WITHIN_S, exit_code=0)

    async def _end_in_time(self, worker: Worker) -> None:
        """See to it that the budget holds even if this loop does not come round any more."""
        await self.shutdown.wait_draining()
        self._exit_timer.end_within(
            worker.settings.drain_s + OVERTIME_S, exit_code=1, last_act=self.shutdown.last_act
        )

    async def _boot_unless_stopped(self, worker: Worker, beside: TaskGroup) -> bool:
        """Boot; false if a signal came first."""
        await wait_any(partial(boot, worker, beside), self.shutdown.wait_draining)
        return not self.shutdown.is_draining

    async def _work(self, worker: Worker) -> None:
        from agent_swarm_worker.worker.recovery.startup import (  # noqa: PLC0415 - see FOR_LATER
            release_when_delivered,
        )

        async with anyio.create_task_group() as loops:
            loops.start_soon(Heartbeat(worker).run)
            loops.start_soon(ping_loop, worker)
            loops.start_soon(cancellation_loop, worker)
            loops.start_soon(reconfigure_loop, worker)
            loops.start_soon(retention_loop, worker)
            loops.start_soon(Steering(worker).run)
            loops.start_soon(_settle, worker)
            async with anyio.create_task_group() as sessions:
                release_when_delivered(worker, sessions)
                sessions.start_soon(self._poll, worker, sessions)
                await self.shutdown.wait_draining()
                await go_down(worker)
                sessions.cancel_scope.cancel()
            loops.cancel_scope.cancel()

    async def _poll(self, worker: Worker, sessions: TaskGroup) -> None:
        from agent_swarm_worker.worker.run.task_run import run_trigger  # noqa: PLC0415 - boot.FOR_LATER

        try:
            policy = RunPolicy(
                slots=worker.slots,
                shutdown=self.shutdown,
                clock=worker.clock,
                interval_s=lambda: worker.settings.poll_interval_s,
            )
            await Poller(worker, policy, sessions, partial(run_trigger, worker)).run()
        finally:
            self.shutdown.polling_over.set()


async def _settle(worker: Worker) -> None:
    """See to what a quick start has left undone, once the first poll is on its way."""
    await worker.clock.sleep(SETTLE_AFTER_S)
    freeze_imported()


def _kill_sessions(worker: Worker) -> None:
    """Kill what runs, without waiting, so that a process ended on the spot leaves none behind."""
    for task in worker.slots:
        if task.handle:
            worker.sandbox.kill(task.handle)
