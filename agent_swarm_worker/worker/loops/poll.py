"""Polls for triggers while a slot is free, and begins a task for each.

The server claims a task before it returns it (docs/api.md 4.2), so no trigger may be dropped
without a log line: not at a shutdown, and not for a task that runs here already.

A session needs a few private files. On a full disk each task would fail at once, until the queue of
the swarm had failed. So nothing is claimed until the disk has space.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.api.wire.tasks import (
    BudgetRefused,
    TaskAssigned,
    TaskOffered,
    Trigger,
    UnknownTrigger,
)
from agent_swarm_worker.errors import ApiError, ApiRefused, Unauthorized
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.read_back import may_have_arrived
from agent_swarm_worker.worker.boot import registration
from agent_swarm_worker.worker.loops.paused_tasks import PausedTaskResumer
from agent_swarm_worker.worker.loops.run_policy import PollResult
from agent_swarm_worker.worker.recovery.claim_reconciliation import ClaimReconciliation
from agent_swarm_worker.worker.run.running_task import RESUMED, RunningTask

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.worker.boot.parts import LoopParts
    from agent_swarm_worker.worker.loops.run_policy import RunPolicy

UNSTARTED_CHECK_S = 60.0
LAST_POLL_S = 3.0
"""How long a shutdown waits for a running poll: its answer may be a claimed task."""
MIN_FREE_BYTES = 4 * 1024 * 1024
CHECK_INTERVAL_S = 2.0
CLAIMING = frozenset({TaskAssigned.type, TaskOffered.type})

RunTrigger: TypeAlias = Callable[[RunningTask, Trigger], Coroutine[Any, Any, None]]


class Poller:
    """Polls for triggers and starts `run` for each in the task group of the sessions."""

    def __init__(
        self, worker: LoopParts, policy: RunPolicy, sessions: TaskGroup, run: RunTrigger
    ) -> None:
        self._worker = worker
        self._policy = policy
        self._sessions = sessions
        self._run = run
        self._recovered_at_s = worker.clock.monotonic()
        self._paused = PausedTaskResumer(worker, self._begin_resumed)
        self._claims = ClaimReconciliation(
            worker, sessions, self._begin_reconciled, policy.unless_leaving
        )

    async def run(self) -> None:
        """Poll until the policy ends it."""
        await self._loop()
        self._claims.polling_ended()

    async def _loop(self) -> None:
        policy = self._policy
        steps = (
            self._recover_unstarted,
            self._paused.check,
            partial(wait_for_disk_space, self._worker),
            self._claims.reconcile,
        )
        await self._paused.resume_all(policy.wait_for_slot)
        while await policy.wait_for_slot():
            for step in steps:
                if not await policy.unless_leaving(step):
                    return
            if policy.may_poll:
                await policy.pause(await self._poll_once())

    async def _poll_once(self) -> float:
        """Poll once; return the seconds until the next poll."""
        worker, policy = self._worker, self._policy
        try:
            trigger = await self._request()
        except Unauthorized as error:
            worker.log.error(Event.API_REFUSED, call="poll", why=str(error))
            return policy.pause_s(PollResult.UNAUTHORIZED)
        except ApiRefused as error:
            if error.status == 404:
                await registration.reregister(worker)
            else:
                worker.log.warning(Event.API_REFUSED, call="poll", why=str(error))
            return max(policy.pause_s(PollResult.NOTHING), error.retry_after_s)
        except ApiError as error:
            worker.log.debug(Event.API_UNREACHABLE, call="poll", why=str(error))
            return policy.pause_s(PollResult.NOTHING)
        if trigger is None:
            return policy.pause_s(PollResult.NOTHING)
        if isinstance(trigger, BudgetRefused):
            return self._back_off(trigger)
        return policy.pause_s(self._handle(trigger))

    async def _request(self) -> Trigger | None:
        """Send the poll; at a shutdown, wait a little for its answer."""

        async def shutdown_grace() -> None:
            await self._policy.until_leaving()
            await anyio.sleep(LAST_POLL_S)

        sent_s = self._claims.poll_started()
        try:
            # The poll comes first: an answer at the same moment is a claimed task.
            first = await wait_any(self._worker.client.polling.poll, shutdown_grace)
        except ApiError as error:
            if may_have_arrived(error):
                self._claims.answer_lost(sent_s)
            raise
        trigger = first.value
        if first.index != 0:
            self._claims.answer_lost(sent_s)
        elif isinstance(trigger, UnknownTrigger) and trigger.type in CLAIMING:
            self._claims.answer_lost(sent_s)  # the claimed task cannot be read from this answer
        return trigger

    def _handle(self, trigger: Trigger) -> PollResult:
        worker = self._worker
        if isinstance(trigger, UnknownTrigger) and not worker.options.default_prompt:
            worker.log.warning(Event.TRIGGER_IGNORED, type=trigger.type, why="not a known trigger")
            return PollResult.IGNORED
        task = self._running_task(trigger)
        if task.task_id in worker.slots:
            worker.log.warning(
                Event.TRIGGER_IGNORED, type=trigger.type, task=task.task_id, why="it runs already"
            )
            return PollResult.IGNORED
        worker.log.info(Event.TRIGGER_RECEIVED, type=trigger.type, task=task.task_id)
        self._begin(task, trigger)
        return PollResult.BEGUN

    def _begin(self, task: RunningTask, trigger: Trigger) -> None:
        self._claims.task_begun(task.task_id)
        self._worker.slots.add(task)
        self._sessions.start_soon(self._run, task, trigger, name=f"task {task.task_id}")

    def _running_task(self, trigger: Trigger) -> RunningTask:
        """Return the task of a trigger; without one the id is generated (docs/api.md 4.10)."""
        row = trigger.task if isinstance(trigger, TaskAssigned | TaskOffered) else None
        return RunningTask(
            task_id=row.id if row else self._worker.ids(),
            has_task=row is not None,
            session_uuid=self._worker.ids(),
            trigger_type=trigger.type,
            description=row.text if row else trigger.type,
            observe_only=isinstance(trigger, TaskOffered),
            was_paused=row is not None and row.was_paused,
        )

    def _back_off(self, refusal: BudgetRefused) -> float:
        pause_s = self._policy.pause_s(PollResult.OVER_BUDGET)
        self._worker.log.warning(
            Event.BUDGET_REFUSED,
            cause=refusal.cause,
            reset_at=refusal.reset_at,
            refusals=self._policy.refusals,
            backoff_s=pause_s,
        )
        return pause_s

    def _begin_reconciled(self, trigger: TaskAssigned | TaskOffered) -> None:
        self._begin(self._running_task(trigger), trigger)

    def _begin_resumed(self, row: Task) -> None:
        trigger = TaskAssigned(task=row)
        self._begin(replace(self._running_task(trigger), trigger_type=RESUMED), trigger)

    async def _recover_unstarted(self) -> None:
        """Have the server put back tasks that were claimed and never started, while nothing runs.

        A running task without a session row would be put back as well (docs/api.md 6.7).
        """
        worker = self._worker
        now_s = worker.clock.monotonic()
        if len(worker.slots) or now_s - self._recovered_at_s < UNSTARTED_CHECK_S:
            return
        self._recovered_at_s = now_s
        try:
            for task in await worker.client.sessions.recover_orphaned(worker.agent_id):
                worker.log.warning(Event.TASK_RECOVERED, task=task.id, why="claimed, never started")
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="recover-orphaned", why=str(error))


async def wait_for_disk_space(worker: LoopParts) -> None:
    """Return when the disk has space for a session; log once if it has not."""
    is_logged = False
    while (free_bytes := _free_bytes(worker)) < MIN_FREE_BYTES:
        if not is_logged:
            why = "the disk is full: no task is begun"
            worker.log.warning(Event.STATE_DEGRADED, why=why, free_bytes=free_bytes)
            is_logged = True
        await worker.clock.sleep(CHECK_INTERVAL_S)


def _free_bytes(worker: LoopParts) -> float:
    try:
        disk = os.statvfs(worker.state.path)
    except OSError:
        return float("inf")  # unknown does not mean full
    return disk.f_bavail * disk.f_frsize
