"""The poll loop: asks for work while there is room for it, and starts what it gets.

Every trigger a poll returns is already claimed on the server (API reference section 3), so nothing
that was returned may be dropped without a word: not by a shutdown, not by a trigger of a task that
runs here already.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.errors import ApiError, ApiRefused, Unauthorized
from agent_swarm_worker.logs import Event
from agent_swarm_worker.swarm.delivery import may_have_arrived
from agent_swarm_worker.swarm.wire import (
    BudgetRefused,
    TaskAssigned,
    TaskOffered,
    Trigger,
    UnknownTrigger,
)
from agent_swarm_worker.worker import registration
from agent_swarm_worker.worker.disk import until_room
from agent_swarm_worker.worker.lost_claims import LostClaims
from agent_swarm_worker.worker.paused import PausedTasks
from agent_swarm_worker.worker.slots import RESUMED, RunningTask

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from agent_swarm_worker.swarm.wire import Task
    from agent_swarm_worker.worker.context import Worker

ORPHAN_CHECK_S = 60.0
BUDGET_BACKOFF_S = 2.0
MAX_BUDGET_BACKOFF_S = 300.0
LOCKED_OUT_PAUSE_S = 30.0
LAST_POLL_S = 3.0
"""How long a shutdown waits for a poll that is under way: its answer may be a claimed task."""
CLAIMING = frozenset({TaskAssigned.type, TaskOffered.type})

RunTrigger: TypeAlias = Callable[[RunningTask, Trigger], Coroutine[Any, Any, None]]


class Poller:
    """Asks for triggers and starts `run` for each, in the group of sessions."""

    def __init__(self, worker: Worker, sessions: TaskGroup, run: RunTrigger) -> None:
        self._worker = worker
        self._sessions = sessions
        self._run = run
        self._refusals = 0
        self._orphans_at_s = worker.clock.monotonic()
        self._paused = PausedTasks(worker, self._begin_resumed)
        self._lost = LostClaims(worker, sessions, self._begin_found, self._until_draining)

    async def run(self) -> None:
        """Poll until the shutdown begins."""
        await self._loop()
        self._lost.close()

    async def _loop(self) -> None:
        worker = self._worker
        await self._paused.resume_all(partial(self._until_draining, worker.slots.wait_free))
        while not worker.shutdown.is_draining:
            if not await self._until_draining(worker.slots.wait_free):
                return
            if not await self._until_draining(self._recover_orphans):
                return
            if not await self._until_draining(self._paused.look):
                return
            if not await self._until_draining(partial(until_room, worker)):
                return
            if not await self._until_draining(self._lost.look):
                return
            if not worker.slots.has_room:
                continue
            pause_s = await self._poll_once()
            if pause_s:
                await self._until_draining(partial(worker.clock.sleep, pause_s))

    async def _poll_once(self) -> float:
        """Ask once; return how many seconds to wait before the next time."""
        worker = self._worker
        settings = worker.settings
        idle_s = settings.poll_interval_s * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load
        try:
            trigger = await self._ask()
        except Unauthorized as error:
            worker.log.error(Event.API_REFUSED, call="poll", why=str(error))
            return LOCKED_OUT_PAUSE_S
        except ApiRefused as error:
            if error.status == 404:
                await registration.register_again(worker)
            else:
                worker.log.warning(Event.API_REFUSED, call="poll", why=str(error))
            return idle_s
        except ApiError as error:
            worker.log.debug(Event.API_UNREACHABLE, call="poll", why=str(error))
            return idle_s
        if trigger is None:
            return idle_s
        return self._handle(trigger)

    async def _ask(self) -> Trigger | None:
        """Poll, and see a request that is under way through when the shutdown begins.

        Raises:
            ApiError: it did not work.
        """

        async def no_longer_wanted() -> None:
            await self._worker.shutdown.wait_draining()
            await anyio.sleep(LAST_POLL_S)

        sent_s = self._lost.polling()
        try:
            # The poll first: an answer that comes in the last moment is a claimed task.
            first = await wait_any(self._worker.client.work.poll, no_longer_wanted)
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

    def _handle(self, trigger: Trigger) -> float:
        worker = self._worker
        if isinstance(trigger, BudgetRefused):
            return self._back_off(trigger)
        self._refusals = 0
        if isinstance(trigger, UnknownTrigger) and not worker.options.default_prompt:
            worker.log.warning(Event.TRIGGER_IGNORED, type=trigger.type, why="not a known trigger")
            return worker.settings.poll_interval_s
        task = self._running_task(trigger)
        if task.task_id in worker.slots:
            worker.log.warning(
                Event.TRIGGER_IGNORED, type=trigger.type, task=task.task_id, why="it runs already"
            )
            return worker.settings.poll_interval_s
        worker.log.info(Event.TRIGGER_RECEIVED, type=trigger.type, task=task.task_id)
        self._begin(task, trigger)
        return 0.0

    def _begin(self, task: RunningTask, trigger: Trigger) -> None:
        self._lost.begun(task.task_id)
        self._worker.slots.add(task)
        self._sessions.start_soon(self._run, task, trigger, name=f"task {task.task_id}")

    def _running_task(self, trigger: Trigger) -> RunningTask:
        """A trigger without a task runs under a made-up id (API reference section 3.6)."""
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
        self._refusals += 1
        pause_s = min(MAX_BUDGET_BACKOFF_S, BUDGET_BACKOFF_S * 2.0 ** (self._refusals - 1))
        self._worker.log.warning(
            Event.BUDGET_REFUSED,
            cause=refusal.cause,
            reset_at=refusal.reset_at,
            refusals=self._refusals,
            backoff_s=pause_s,
        )
        return pause_s

    def _begin_found(self, trigger: TaskAssigned | TaskOffered) -> None:
        self._begin(self._running_task(trigger), trigger)

    def _begin_resumed(self, row: Task) -> None:
        trigger = TaskAssigned(task=row)
        self._begin(replace(self._running_task(trigger), trigger_type=RESUMED), trigger)

    async def _recover_orphans(self) -> None:
        """Have tasks that were claimed and never started put back (E25), while nothing runs.

        A task that runs here without a session on record would be put back too.
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

    async def _until_draining(self, wait: Callable[[], Awaitable[None]]) -> bool:
        """Wait for something; false if the shutdown began first."""
        await wait_any(wait, self._worker.shutdown.wait_draining)
        return not self._worker.shutdown.is_draining
