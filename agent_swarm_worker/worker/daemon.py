"""Runs the worker process: one task group that owns all loops and sessions.

    run ─┬─ signals ─ outbox ─ orphans ─ liveness         until the process ends
         ├─ boot                                          once
         ├─ poll · heartbeat · ping · cancellation ·      until the shutdown is over
         │  reconfigure · steering · retention
         └─ sessions: one task each                       drained by the shutdown

An error in any loop ends the worker with that error.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.ids import IdSource, random_ids
from agent_swarm_worker.imports import freeze_imported, import_in_thread
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.processes.subreaper import adopt_orphans
from agent_swarm_worker.worker.boot.connection import connect
from agent_swarm_worker.worker.boot.environment import Environment
from agent_swarm_worker.worker.boot.harness import Harness
from agent_swarm_worker.worker.boot.registration import reconfigure_loop
from agent_swarm_worker.worker.boot.sequence import DEFERRED_MODULES, boot
from agent_swarm_worker.worker.boot.wiring import WorkerInputs, wire
from agent_swarm_worker.worker.loops.cancellation import Cancellation
from agent_swarm_worker.worker.loops.heartbeat import Heartbeat, ping_loop
from agent_swarm_worker.worker.loops.housekeeping import liveness_loop, retention_loop
from agent_swarm_worker.worker.loops.poll import Poller, RunTrigger
from agent_swarm_worker.worker.loops.run_policy import RunPolicy, Shutdown
from agent_swarm_worker.worker.loops.shutdown import (
    EXIT_WITHIN_S,
    OVERTIME_S,
    ExitTimer,
    drain_and_supersede,
    flush_and_close,
)
from agent_swarm_worker.worker.loops.steering import SteeringLoop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import TaskGroup, TaskStatus

    from agent_swarm_worker.api.wire.tasks import Trigger
    from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
    from agent_swarm_worker.worker.boot.connection import ApiConnection
    from agent_swarm_worker.worker.boot.parts import Worker, WorkerOptions
    from agent_swarm_worker.worker.run.running_task import RunningTask

IMPORT_AFTER_S = 0.1
"""Seconds after boot until the deferred modules are imported: the first poll goes first."""
GC_AFTER_S = 1.0
"""Seconds until the garbage of importing is collected."""


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
        connection: ApiConnection | None = None,
        shutdown: Shutdown | None = None,
        handles_signals: bool = True,
    ) -> None:
        """Read the settings.

        Args:
            env: the environment; settings are read from nothing else.
            options: of the command line.
            scrubber: of the process; its log lines pass through it too.
            clock: time.
            ids: makes the runtime and session ids.
            connection: to the API, if there is one already; its owner closes it.
            shutdown: if there is one already; its owner watches the signals.
            handles_signals: false if the process handles signals elsewhere.

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
        self._connection = connection
        self._handles_signals = handles_signals
        self._watches_signals = handles_signals and shutdown is None
        self.shutdown = shutdown or Shutdown(log=self._log)
        self._exit_timer = ExitTimer()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Work until a shutdown is complete; `task_status` is set before the first poll.

        Raises:
            SwarmWorkerError: the worker cannot start.
        """
        async with AsyncExitStack() as stack:
            connection = self._connection
            if connection is None:
                settings = self._environment.settings
                connection = connect(settings, clock=self._clock, ids=self._ids, log=self._log)
                await stack.enter_async_context(connection.http)
            inputs = WorkerInputs(
                options=self._options,
                environment=self._environment,
                harness=self._harness,
                connection=connection,
                shutdown=self.shutdown,
                scrubber=self._scrubber,
                clock=self._clock,
                ids=self._ids,
                log=self._log,
            )
            worker = wire(inputs, stack)
            self.shutdown.before_exit = partial(_kill_sessions, worker)
            async with anyio.create_task_group() as group:
                if self._watches_signals:
                    group.start_soon(self.shutdown.watch_signals)
                if self._handles_signals:
                    group.start_soon(self._limit_shutdown, worker)
                group.start_soon(worker.outbox.run)
                group.start_soon(partial(adopt_orphans, clock=worker.clock))
                group.start_soon(liveness_loop, worker)
                if await self._boot_unless_stopped(worker, group):
                    task_status.started()
                    await self._work(worker)
                if worker.facts.agent is not None:
                    await flush_and_close(worker)
                group.cancel_scope.cancel()
            self._log.info(Event.WORKER_STOPPED, undelivered=worker.outbox.pending() or None)
        if self._handles_signals:
            self._exit_timer.end_within(EXIT_WITHIN_S, exit_code=0)

    async def _limit_shutdown(self, worker: Worker) -> None:
        """Start the exit timer with the drain, in case the event loop hangs during the shutdown."""
        await self.shutdown.draining.wait()
        self._exit_timer.end_within(
            worker.settings.drain_s + OVERTIME_S, exit_code=1, before_exit=self.shutdown.before_exit
        )

    async def _boot_unless_stopped(self, worker: Worker, background: TaskGroup) -> bool:
        """Boot; false if a shutdown began first."""
        await wait_any(partial(boot, worker, background), self.shutdown.draining.wait)
        return not self.shutdown.is_draining

    async def _work(self, worker: Worker) -> None:
        async with anyio.create_task_group() as loops:
            loops.start_soon(Heartbeat(worker).run)
            loops.start_soon(ping_loop, worker)
            loops.start_soon(Cancellation(worker).run)
            loops.start_soon(reconfigure_loop, worker)
            loops.start_soon(retention_loop, worker)
            loops.start_soon(SteeringLoop(worker).run)
            loops.start_soon(_summarise, worker)
            if self._handles_signals:  # the process is the daemon's own, and so is its heap
                loops.start_soon(_finish_imports, worker)
            async with anyio.create_task_group() as sessions:
                if len(worker.slots):  # of results that are not delivered yet
                    # Deferred import: see `boot.sequence.DEFERRED_MODULES`.
                    from agent_swarm_worker.worker.recovery.startup import (  # noqa: PLC0415
                        release_when_delivered,
                    )

                    release_when_delivered(worker, sessions)
                sessions.start_soon(self._poll, worker, sessions, partial(_run_trigger, worker))
                await self.shutdown.draining.wait()
                await drain_and_supersede(worker)
                sessions.cancel_scope.cancel()
            loops.cancel_scope.cancel()

    async def _poll(self, worker: Worker, sessions: TaskGroup, run: RunTrigger) -> None:
        try:
            policy = RunPolicy(
                slots=worker.slots,
                shutdown=self.shutdown,
                clock=worker.clock,
                interval_s=lambda: worker.settings.poll_interval_s,
            )
            await Poller(worker, policy, sessions, run).run()
        finally:
            self.shutdown.polling_over.set()


async def _run_trigger(worker: Worker, task: RunningTask, trigger: Trigger) -> None:
    await import_in_thread(*DEFERRED_MODULES)
    from agent_swarm_worker.worker.run.task_run import run_trigger  # noqa: PLC0415

    await run_trigger(worker, task, trigger)


async def _summarise(worker: Worker) -> None:
    while not worker.summaries.has_work:
        await worker.summaries.changed.wait()
    await import_in_thread(*DEFERRED_MODULES)
    from agent_swarm_worker.worker.loops.summaries import SummaryLoop  # noqa: PLC0415

    await SummaryLoop(worker).run()


async def _finish_imports(worker: Worker) -> None:
    await worker.clock.sleep(IMPORT_AFTER_S)
    await import_in_thread(*DEFERRED_MODULES)
    await worker.clock.sleep(GC_AFTER_S)
    freeze_imported()


def _kill_sessions(worker: Worker) -> None:
    for task in worker.slots:
        if task.handle:
            worker.sandbox.kill(task.handle)
