"""Telling the server that this worker and each of its tasks live.

By the clock, whatever a tool is doing: seconds after its own restart the server gives up every
task whose session has not beaten since, and starts it a second time (docs/api.md 16.1). So
each running task beats every three seconds, and all at once when the API is back after an outage.

Whether a task is still ours, and letting go of one that is not.

It is asked where the server may have given the task up without a word to us: just before its
session begins, for a sweep may have come between the claim and the first beat, and whenever the
server has no row of ours.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio

from agent_swarm_worker.aio import Broadcast, wait_any
from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event
from agent_swarm_worker.reporting.port import task_lane
from agent_swarm_worker.worker.boot import registration
from agent_swarm_worker.worker.boot.parts import (
    Api,
    Basics,
    Config,
    Host,
    Identity,
    Running,
    Storage,
)
from agent_swarm_worker.worker.loops.paused import HISTORY_ROWS, was_set_going

if TYPE_CHECKING:
    from agent_swarm_worker.api.wire import Task
    from agent_swarm_worker.worker.run.running_task import RunningTask

PING_INTERVAL_S = 10.0
ACTIVITY_INTERVAL_S = 15.0
"""The server pins a resume to an agent that was active within 30 s."""
LOOK_INTERVAL_S = 5.0
"""How often the task itself is looked at: one that was paused, or superseded by hand, keeps its
session row, so that no beat tells."""

MANY = 4
"""So many tasks are looked at together."""
MAX_LISTED = 100
OWN_LOOK_S = 60.0
"""How often each of many is looked at by itself: a list may not have all its fields."""
MAX_BEATS_AT_ONCE = 16
"""Half of the connections there are: the rest is for everything else."""
LAST_WORD_S = 1.0
"""How long a pause waits for a word that is on its way, lest it undo the pause again."""


class Announces(Identity, Basics, Api, Protocol):
    """What it takes to put a session on the server's list."""


class Parts(Identity, Config, Basics, Api, Storage, Running, Host, Protocol):
    """What this module uses of the worker."""


class Heartbeat:
    """Beats for all running tasks."""

    def __init__(self, worker: Parts) -> None:
        self._worker = worker
        self._recovered = Broadcast()
        self._beating: dict[RunningTask, anyio.CancelScope] = {}
        """One beat per task at a time, so that they do not pile up before an API that hangs."""
        self._looked_at_s: dict[RunningTask, float] = {}
        """When each of many was last looked at by itself, or first seen among many."""
        self._at_once = anyio.CapacityLimiter(MAX_BEATS_AT_ONCE)
        worker.client.http.health.on_recovered(self._on_recovered)

    async def run(self) -> None:
        """Beat until cancelled; a beat that takes long delays no other task's."""
        worker = self._worker
        async with anyio.create_task_group() as beats:
            beats.start_soon(self._keep_looking)
            while True:
                recovered = self._recovered.next
                interval_s = worker.settings.heartbeat_interval_s
                for task in worker.slots:
                    if task not in self._beating:
                        self._beating[task] = anyio.CancelScope()
                        beats.start_soon(self._beat_once, task)
                await wait_any(recovered.wait, partial(worker.clock.sleep, interval_s))
                if recovered.is_set():
                    self._begin_afresh()

    def _begin_afresh(self) -> None:
        """Give up the beats that hang on an API that was away: they would delay new ones."""
        for scope in self._beating.values():
            scope.cancel()
        self._beating.clear()

    async def _beat_once(self, task: RunningTask) -> None:
        scope = self._beating[task]
        try:
            await self.beat(task, scope)
        finally:
            if self._beating.get(task) is scope:
                del self._beating[task]

    async def beat(self, task: RunningTask, scope: anyio.CancelScope) -> None:
        """Beat once for one task; a row the server lost is put back, a task it took is let go.

        Args:
            task: a running one.
            scope: around the call alone: ending a session is not broken off.
        """
        worker = self._worker
        try:
            if task.session_row and await self._is_on_record(task, scope):
                return
            if not task.is_live:
                return  # we took its row off ourselves
            if await was_taken(worker, task):
                return
            await announce(worker, task)
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="heartbeat", why=str(error))

    async def _is_on_record(self, task: RunningTask, scope: anyio.CancelScope) -> bool:
        """Beat; false only if the server says that it has no such session."""
        with scope:
            async with self._at_once:
                with anyio.move_on_after(self._worker.settings.heartbeat_interval_s * 2):
                    return await self._worker.client.sessions.heartbeat(task.task_id)
        return True

    async def _keep_looking(self) -> None:
        while True:
            await self._worker.clock.sleep(LOOK_INTERVAL_S)
            running = [
                task
                for task in self._worker.slots
                if task.has_task and task.is_live and task.ended_by is None
            ]
            for task in await self._to_look_at(running):
                await self._look(task)

    async def _to_look_at(self, running: list[RunningTask]) -> list[RunningTask]:
        """Return those of which one list for all does not say that they simply go on."""
        if len(running) < MANY:
            return running
        now_s = self._worker.clock.monotonic()
        self._looked_at_s = {task: self._looked_at_s.get(task, now_s) for task in running}
        going_on = await self._going_on()
        chosen = [
            task
            for task in running
            if task.task_id not in going_on or now_s - self._looked_at_s[task] >= OWN_LOOK_S
        ]
        self._looked_at_s |= dict.fromkeys(chosen, now_s)
        return chosen

    async def _going_on(self) -> set[str]:
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

    async def _look(self, task: RunningTask) -> None:
        """Let a task go that somebody else has, or nobody for now; it may have failed itself."""
        try:
            current = await self._worker.client.tasks.get(task.task_id, logs_limit=1)
        except ApiError as error:
            self._worker.log.debug(Event.API_REFUSED, call="task", why=str(error))
            return
        if current.status == "superseded" or is_elsewhere(self._worker, current):
            await let_go(self._worker, task, current)
        elif current.status == "paused":
            await self._pause(task)
        elif current.was_paused and not task.was_paused and current.status == "in_progress":
            await self._after_a_pause(task)

    async def _after_a_pause(self, task: RunningTask) -> None:
        """Go on with a task that was resumed at once; stop one that only seems to go on."""
        try:
            current = await self._worker.client.tasks.get(task.task_id, logs_limit=HISTORY_ROWS)
        except ApiError as error:
            self._worker.log.debug(Event.API_REFUSED, call="task", why=str(error))
            return
        if was_set_going(current):
            task.was_paused = True  # its session never stopped, so there is nothing to begin again
        elif current.status in {"in_progress", "paused"}:
            await self._pause(task, once_more=current.status == "in_progress")

    async def _pause(self, task: RunningTask, *, once_more: bool = False) -> None:
        """End the session of a paused task; `PausedTasks` begins another when it is resumed."""
        worker = self._worker
        task.stop_progress()
        if not await task.end("paused", is_ours=False):
            return
        worker.paused.add(task.task_id)
        worker.log.info(Event.TASK_PAUSED, task=task.task_id)
        if once_more:
            await worker.outbox.flushed(task_lane(task.task_id), timeout_s=LAST_WORD_S)
            try:
                await worker.client.tasks.pause(task.task_id)
            except ApiError as error:
                worker.log.warning(Event.API_REFUSED, call="pause", why=str(error))

    def _on_recovered(self) -> None:
        self._recovered.notify()


async def announce(worker: Announces, task: RunningTask) -> None:
    """Put the task's session on the server's list (docs/api.md 6.2).

    Raises:
        ApiError: it did not work; the next beat tries again.
    """
    await worker.client.sessions.create(
        agent_id=worker.agent_id,
        trigger_type=task.trigger_type,
        task_id=task.task_id,
        description=worker.scrubber.text(task.description),
        session_uuid=task.session_uuid,
    )
    task.session_row = True


async def ping_loop(worker: Parts) -> None:
    """Say that the process lives (docs/api.md 3.2); an agent the server forgot registers again."""
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
                await registration.register_again(worker)
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="ping", why=str(error))
        await worker.clock.sleep(PING_INTERVAL_S)


LOST = "lost"
LOOK_TIMEOUT_S = 5.0
"""How long a session may wait for the look before it: an API that is away takes nothing from us."""


async def is_gone(worker: Parts, task: RunningTask) -> bool:
    """Look once more before the session begins; false as well if nobody could be asked.

    Seconds after its own restart the server fails what it has seen no session for, and starts it a
    second time (docs/api.md 16.1): the claim's answer may still have been on its way.
    """
    with anyio.move_on_after(LOOK_TIMEOUT_S):
        try:
            return await was_taken(worker, task)
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="task", why=str(error))
    return False


async def was_taken(worker: Parts, task: RunningTask) -> bool:
    """Ask whether the task is gone, and end the work on it if so.

    Raises:
        ApiError: that could not be found out.
    """
    if not task.has_task:
        return False
    try:
        current = await worker.client.tasks.get(task.task_id, logs_limit=1)
    except ApiRefused as refusal:
        if refusal.is_server_fault:
            raise
        return False
    if not current.is_terminal and not is_elsewhere(worker, current):
        return False
    if current.status == "completed" and task.session is not None:
        # The agent ended the task itself, through its tools; it may have its last word.
        return True
    await let_go(worker, task, current)
    return True


def is_elsewhere(worker: Parts, current: Task) -> bool:
    """True if the server names another agent for the task."""
    return current.agent_id not in (None, worker.agent_id)


async def let_go(worker: Parts, task: RunningTask, current: Task) -> None:
    """End the work on a task that is not ours any more; its result is not ours to write."""
    if await task.end(LOST, is_ours=False):
        worker.log.warning(Event.TASK_LOST, task=task.task_id, status=current.status)
