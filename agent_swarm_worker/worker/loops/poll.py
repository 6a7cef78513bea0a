"""The poll loop: asks for work while there is room for it, and starts what it gets.

Every trigger a poll returns is already claimed on the server (docs/api.md 4.2), so nothing
that was returned may be dropped without a word: not by a shutdown, not by a trigger of a task that
runs here already.

Whether there is room on the disk to begin a task.

A session needs a few private files. On a full disk each task would fail in a moment and the next
one be claimed, until the swarm's whole queue had failed. So nothing is claimed until there is room.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import anyio

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.api.wire import (
    BudgetRefused,
    TaskAssigned,
    TaskOffered,
    Trigger,
    UnknownTrigger,
)
from agent_swarm_worker.errors import ApiError, ApiRefused, Unauthorized
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.delivery import may_have_arrived
from agent_swarm_worker.worker.boot import registration
from agent_swarm_worker.worker.boot.parts import (
    Api,
    Basics,
    Config,
    Host,
    Identity,
    PausedAtStart,
    Running,
    Storage,
)
from agent_swarm_worker.worker.loops.paused import PausedTasks
from agent_swarm_worker.worker.loops.run_policy import Polled
from agent_swarm_worker.worker.recovery.claim_reconciliation import ClaimReconciliation
from agent_swarm_worker.worker.run.running_task import RESUMED, RunningTask

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from agent_swarm_worker.api.wire import Task
    from agent_swarm_worker.worker.loops.run_policy import RunPolicy

ORPHAN_CHECK_S = 60.0
LAST_POLL_S = 3.0
"""How long a shutdown waits for a poll that is under way: its answer may be a claimed task."""
CLAIMING = frozenset({TaskAssigned.type, TaskOffered.type})

RunTrigger: TypeAlias = Callable[[RunningTask, Trigger], Coroutine[Any, Any, None]]


class Parts(Identity, Config, Basics, Api, Storage, Running, PausedAtStart, Host, Protocol):
    """What this module uses of the worker."""


class Poller:
    """Asks for triggers and starts `run` for each, in the group of sessions."""

    def __init__(
        self, worker: Parts, policy: RunPolicy, sessions: TaskGroup, run: RunTrigger
    ) -> None:
        self._worker = worker
        self._policy = policy
        self._sessions = sessions
        self._run = run
        self._orphans_at_s = worker.clock.monotonic()
        self._paused = PausedTasks(worker, self._begin_resumed)
        self._lost = ClaimReconciliation(worker, sessions, self._begin_found, policy.unless_leaving)

    async def run(self) -> None:
        """Poll until the policy says to leave."""
        await self._loop()
        self._lost.close()

    async def _loop(self) -> None:
        policy = self._policy
        steps = (
            self._recover_orphans,
            self._paused.look,
            partial(until_room, self._worker),
            self._lost.look,
        )
        await self._paused.resume_all(policy.room)
        while await policy.room():
            for step in steps:
                if not await policy.unless_leaving(step):
                    return
            if policy.may_poll:
                await policy.pause(await self._poll_once())

    async def _poll_once(self) -> float:
        """Ask once; return how many seconds to wait before the next time."""
        worker, policy = self._worker, self._policy
        try:
            trigger = await self._ask()
        except Unauthorized as error:
            worker.log.error(Event.API_REFUSED, call="poll", why=str(error))
            return policy.pause_s(Polled.LOCKED_OUT)
        except ApiRefused as error:
            if error.status == 404:
                await registration.register_again(worker)
            else:
                worker.log.warning(Event.API_REFUSED, call="poll", why=str(error))
            return policy.pause_s(Polled.NOTHING)
        except ApiError as error:
            worker.log.debug(Event.API_UNREACHABLE, call="poll", why=str(error))
            return policy.pause_s(Polled.NOTHING)
        if trigger is None:
            return policy.pause_s(Polled.NOTHING)
        if isinstance(trigger, BudgetRefused):
            return self._back_off(trigger)
        return policy.pause_s(self._handle(trigger))

    async def _ask(self) -> Trigger | None:
        """Poll, and see a request that is under way through when the shutdown begins.

        Raises:
            ApiError: it did not work.
        """

        async def no_longer_wanted() -> None:
            await self._policy.until_leaving()
            await anyio.sleep(LAST_POLL_S)

        sent_s = self._lost.polling()
        try:
            # The poll first: an answer that comes in the last moment is a claimed task.
            first = await wait_any(self._worker.client.polling.poll, no_longer_wanted)
        except ApiError as error:
            if may_have_arrived(error):
                self._lost.lost(sent_s)
            raise
        trigger = first.value
        if first.index != 0:
            self._lost.lost(sent_s)
        elif isinstance(trigger, UnknownTrigger) and trigger.type in CLAIMING:
            self._lost.lost(sent_s)  # what was claimed cannot be read in this answer
        return trigger

    def _handle(self, trigger: Trigger) -> Polled:
        """Begin what a trigger asks for."""
        worker = self._worker
        if isinstance(trigger, UnknownTrigger) and not worker.options.default_prompt:
            worker.log.warning(Event.TRIGGER_IGNORED, type=trigger.type, why="not a known trigger")
            return Polled.IGNORED
        task = self._running_task(trigger)
        if task.task_id in worker.slots:
            worker.log.warning(
                Event.TRIGGER_IGNORED, type=trigger.type, task=task.task_id, why="it runs already"
            )
            return Polled.IGNORED
        worker.log.info(Event.TRIGGER_RECEIVED, type=trigger.type, task=task.task_id)
        self._begin(task, trigger)
        return Polled.BEGUN

    def _begin(self, task: RunningTask, trigger: Trigger) -> None:
        self._lost.begun(task.task_id)
        self._worker.slots.add(task)
        self._sessions.start_soon(self._run, task, trigger, name=f"task {task.task_id}")

    def _running_task(self, trigger: Trigger) -> RunningTask:
        """A trigger without a task runs under a made-up id (docs/api.md 4.10)."""
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
        """Wait twice as long with each refusal in a row; only this loop waits, no other."""
        pause_s = self._policy.pause_s(Polled.OVER_BUDGET)
        self._worker.log.warning(
            Event.BUDGET_REFUSED,
            cause=refusal.cause,
            reset_at=refusal.reset_at,
            refusals=self._policy.refusals,
            backoff_s=pause_s,
        )
        return pause_s

    def _begin_found(self, trigger: TaskAssigned | TaskOffered) -> None:
        self._begin(self._running_task(trigger), trigger)

    def _begin_resumed(self, row: Task) -> None:
        trigger = TaskAssigned(task=row)
        self._begin(replace(self._running_task(trigger), trigger_type=RESUMED), trigger)

    async def _recover_orphans(self) -> None:
        """Have tasks that were claimed and never started put back, while nothing runs.

        A task that runs here without a session on record would be put back too (docs/api.md 6.7).
        """
        worker = self._worker
        now_s = worker.clock.monotonic()
        if len(worker.slots) or now_s - self._orphans_at_s < ORPHAN_CHECK_S:
            return
        self._orphans_at_s = now_s
        try:
            for task in await worker.client.sessions.recover_orphaned(worker.agent_id):
                worker.log.warning(Event.TASK_RECOVERED, task=task.id, why="claimed, never started")
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="recover-orphaned", why=str(error))


MIN_FREE_BYTES = 4 * 1024 * 1024
LOOK_INTERVAL_S = 2.0


async def until_room(worker: Parts) -> None:
    """Return when a task can be begun; says so once if it has to wait."""
    is_told = False
    while (free_bytes := _free_bytes(worker)) < MIN_FREE_BYTES:
        if not is_told:
            why = "the disk is full: no task is begun"
            worker.log.warning(Event.STATE_DEGRADED, why=why, free_bytes=free_bytes)
            is_told = True
        await worker.clock.sleep(LOOK_INTERVAL_S)


def _free_bytes(worker: Parts) -> float:
    try:
        disk = os.statvfs(worker.state.path)
    except OSError:
        return float("inf")  # cannot be asked, which does not mean that it is full
    return disk.f_bavail * disk.f_frsize
