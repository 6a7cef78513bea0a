"""Sends heartbeats for the process and each running task, and ends tasks that were taken away.

Seconds after its own restart the server gives up every task without a recent heartbeat, and starts
it a second time (docs/api.md 16.1). So each running task gets one every three seconds, whatever a
tool does, and all at once when the API is back after an outage.

The server may give a task up without telling its worker. So the task itself is read just before its
session begins (a sweep may have come between the claim and the first heartbeat), every five
seconds, and whenever the server has no session row for it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.aio import Broadcast, wait_any
from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.boot import registration
from agent_swarm_worker.worker.loops.paused_tasks import HISTORY_ROWS, was_resumed

if TYPE_CHECKING:
    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.worker.boot.parts import Core, LoopParts
    from agent_swarm_worker.worker.run.running_task import RunningTask

PING_INTERVAL_S = 10.0
ACTIVITY_INTERVAL_S = 15.0
"""The server pins a resume to an agent that was active within 30 s."""
CHECK_INTERVAL_S = 5.0
"""A task that was paused or superseded by hand keeps its session row, so its heartbeat succeeds."""
BATCH_FROM = 4
"""From so many tasks on, one list is read instead of each task."""
MAX_LISTED = 100
OWN_CHECK_S = 60.0
"""Of many, each is still read by itself: a list may lack some fields."""
MAX_CONCURRENT_BEATS = 16
"""Half of the connections of the pool; the rest is for other requests."""
LATE_PROGRESS_S = 1.0
"""How long a pause waits for progress in delivery, which would resume the task."""
CHECK_TIMEOUT_S = 5.0
"""How long the check before a session may take; without an answer the session begins."""
LOST = "lost"


class Heartbeat:
    """Sends heartbeats for all running tasks, and checks the tasks."""

    def __init__(self, worker: LoopParts) -> None:
        self._worker = worker
        self._recovered = Broadcast()
        self._beating: dict[RunningTask, anyio.CancelScope] = {}
        """One heartbeat per task at a time, so that they do not pile up while the API hangs."""
        self._checked_at_s: dict[RunningTask, float] = {}
        """When each of many was last read by itself, or first seen among many."""
        self._limiter = anyio.CapacityLimiter(MAX_CONCURRENT_BEATS)
        worker.client.http.health.on_recovered(self._recovered.notify)

    async def run(self) -> None:
        """Send heartbeats until cancelled; a slow one delays no other task's."""
        worker = self._worker
        async with anyio.create_task_group() as beats:
            beats.start_soon(self._check_loop)
            while True:
                recovered = self._recovered.next
                interval_s = worker.settings.heartbeat_interval_s
                for task in worker.slots:
                    if task not in self._beating:
                        self._beating[task] = anyio.CancelScope()
                        beats.start_soon(self._beat, task)
                await wait_any(recovered.wait, partial(worker.clock.sleep, interval_s))
                if recovered.is_set():
                    self._cancel_stale_beats()

    def _cancel_stale_beats(self) -> None:
        """Cancel the heartbeats of the outage: they would delay new ones."""
        for scope in self._beating.values():
            scope.cancel()
        self._beating.clear()

    async def _beat(self, task: RunningTask) -> None:
        """Send one heartbeat for one task; restore a lost session row, end a task that is gone."""
        worker = self._worker
        scope = self._beating[task]  # around the request only: ending a session is not cancelled
        try:
            if task.session_row and await self._is_on_record(task, scope):
                return
            if not task.is_live:
                return  # its row was removed by this worker
            if await end_if_gone(worker, task):
                return
            await create_session_row(worker, task)
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="heartbeat", why=str(error))
        finally:
            if self._beating.get(task) is scope:
                del self._beating[task]

    async def _is_on_record(self, task: RunningTask, scope: anyio.CancelScope) -> bool:
        """Send the request; false only if the server answers that it has no such session."""
        with scope:
            async with self._limiter:
                with anyio.move_on_after(self._worker.settings.heartbeat_interval_s * 2):
                    return await self._worker.client.sessions.heartbeat(task.task_id)
        return True

    async def _check_loop(self) -> None:
        while True:
            await self._worker.clock.sleep(CHECK_INTERVAL_S)
            running = [
                task
                for task in self._worker.slots
                if task.has_task and task.is_live and task.ended_by is None
            ]
            for task in await self._tasks_to_check(running):
                await self._check(task)

    async def _tasks_to_check(self, running: list[RunningTask]) -> list[RunningTask]:
        """Return the tasks to read by themselves: of many, those that the list does not settle."""
        if len(running) < BATCH_FROM:
            return running
        now_s = self._worker.clock.monotonic()
        self._checked_at_s = {task: self._checked_at_s.get(task, now_s) for task in running}
        unchanged = await self._listed_in_progress()
        chosen = [
            task
            for task in running
            if task.task_id not in unchanged or now_s - self._checked_at_s[task] >= OWN_CHECK_S
        ]
        self._checked_at_s |= dict.fromkeys(chosen, now_s)
        return chosen

    async def _listed_in_progress(self) -> set[str]:
        """Return the ids of this agent's tasks that are in progress and were never paused."""
        worker = self._worker
        try:
            rows = await worker.client.tasks.list(
                status="in_progress", agent_id=worker.agent_id, limit=MAX_LISTED, background=True
            )
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="tasks", why=str(error))
            return set()
        return {
            row.id
            for row in rows
            if row.status == "in_progress"
            and row.agent_id == worker.agent_id
            and not row.was_paused
        }

    async def _check(self, task: RunningTask) -> None:
        """Read the task; end its session if it was superseded, reassigned or paused."""
        try:
            current = await self._worker.client.tasks.get(task.task_id, logs_limit=1)
        except ApiError as error:
            self._worker.log.debug(Event.API_REFUSED, call="task", why=str(error))
            return
        is_elsewhere = task.is_assigned_elsewhere(current, self._worker.agent_id)
        if current.status == "superseded" or is_elsewhere:
            await end_as_lost(self._worker, task, current)
        elif current.status == "paused":
            await self._pause(task)
        elif current.was_paused and not task.was_paused and current.status == "in_progress":
            await self._check_resumed(task)

    async def _check_resumed(self, task: RunningTask) -> None:
        """Continue a task that was paused and resumed at once; pause one that progress resumed."""
        try:
            current = await self._worker.client.tasks.get(task.task_id, logs_limit=HISTORY_ROWS)
        except ApiError as error:
            self._worker.log.debug(Event.API_REFUSED, call="task", why=str(error))
            return
        if was_resumed(current):
            task.was_paused = True  # its session never stopped
        elif current.status in {"in_progress", "paused"}:
            await self._pause(task, pause_again=current.status == "in_progress")

    async def _pause(self, task: RunningTask, *, pause_again: bool = False) -> None:
        """End the session of a paused task; `PausedTaskResumer` begins another on its resume."""
        worker = self._worker
        task.stop_progress()
        if not await task.end("paused", is_ours=False):
            return
        worker.paused_tasks.add(task.task_id)
        worker.log.info(Event.TASK_PAUSED, task=task.task_id)
        if pause_again:
            await worker.outbox.flushed(task.task_id, timeout_s=LATE_PROGRESS_S)
            try:
                await worker.client.tasks.pause(task.task_id)
            except ApiError as error:
                worker.log.warning(Event.API_REFUSED, call="pause", why=str(error))


async def create_session_row(worker: Core, task: RunningTask) -> None:
    """Create the task's session row on the server (docs/api.md 6.2).

    Raises:
        ApiError: it failed; the next heartbeat tries again.
    """
    await worker.client.sessions.create(
        agent_id=worker.agent_id,
        trigger_type=task.trigger_type,
        task_id=task.task_id,
        description=worker.scrubber.text(task.description),
        session_uuid=task.session_uuid,
    )
    task.session_row = True


async def ping_loop(worker: LoopParts) -> None:
    """Ping the server (docs/api.md 3.2); register again if it does not know this agent."""
    active_at_s = worker.clock.monotonic()
    while True:
        try:
            await worker.client.agents.ping()
            now_s = worker.clock.monotonic()
            if len(worker.slots) and now_s - active_at_s >= ACTIVITY_INTERVAL_S:
                active_at_s = now_s
                await worker.client.agents.activity(worker.agent_id)
        except ApiRefused as error:
            if error.status == 404:
                await registration.reregister(worker)
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="ping", why=str(error))
        await worker.clock.sleep(PING_INTERVAL_S)


async def check_before_session(
    worker: LoopParts, task: RunningTask, row_created: anyio.Event
) -> None:
    """Read the task before its session begins, and end it if it is gone.

    A sweep of the server may have come while the answer of the claim was in transit (docs/api.md
    16.1).
    """
    await row_created.wait()
    with anyio.move_on_after(CHECK_TIMEOUT_S):
        try:
            await end_if_gone(worker, task)
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="task", why=str(error))


async def end_if_gone(worker: LoopParts, task: RunningTask) -> bool:
    """Read the task, and end its session if it is finished or reassigned; true if so.

    Raises:
        ApiError: the task cannot be read.
    """
    if not task.has_task:
        return False
    try:
        current = await worker.client.tasks.get(task.task_id, logs_limit=1)
    except ApiRefused as refusal:
        if refusal.is_server_fault:
            raise
        return False
    if not current.is_terminal and not task.is_assigned_elsewhere(current, worker.agent_id):
        return False
    if current.status == "completed" and task.session is not None:
        # The agent finished the task itself, through its tools; its session may end normally.
        return True
    await end_as_lost(worker, task, current)
    return True


async def end_as_lost(worker: LoopParts, task: RunningTask, current: Task) -> None:
    """End the session of a task that was taken away; its result is not reported."""
    if await task.end(LOST, is_ours=False):
        worker.log.warning(Event.TASK_LOST, task=task.task_id, status=current.status)
