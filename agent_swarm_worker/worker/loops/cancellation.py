"""Noticing that a running task was cancelled: asked every second.

A few tasks are asked about one by one, each on its own. For many there is one question for all of
this agent's. The server answers that one with the last five minutes only, so that each task is now
and then asked about by itself all the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import anyio

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.boot.parts import Api, Basics, Config, Running
from agent_swarm_worker.worker.run.running_task import PerTask

if TYPE_CHECKING:
    from agent_swarm_worker.worker.run.running_task import RunningTask

MANY = 4
OWN_CHECK_S = 60.0
"""How often each of many is asked about by itself; well within the server's five minutes."""
SHARED_TIMEOUT_S = 5.0
"""Everybody waits for this answer."""


class Parts(Config, Basics, Api, Running, Protocol):
    """What this module uses of the worker."""


async def cancellation_loop(worker: Parts) -> None:
    """End the session of every task the server calls cancelled (docs/api.md 5.6)."""
    await _Cancellation(worker).run()


class _Cancellation:
    def __init__(self, worker: Parts) -> None:
        self._worker = worker
        self._asked_at_s: dict[RunningTask, float] = {}
        """When each of many was last asked about by itself."""
        self._asks_all = False

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            checks = PerTask(group, self._check)
            while True:
                running = [t for t in self._worker.slots if t.has_task and t.ended_by is None]
                if len(running) >= MANY and not self._asks_all:
                    self._asks_all = True
                    group.start_soon(self._check_all)
                for task in self._due(running):
                    checks.start(task)
                await self._worker.clock.sleep(self._worker.settings.cancel_check_interval_s)

    def _due(self, running: list[RunningTask]) -> list[RunningTask]:
        """Return those to be asked about by themselves now."""
        now_s = self._worker.clock.monotonic()
        self._asked_at_s = {task: self._asked_at_s.get(task, -math.inf) for task in running}
        every_s = OWN_CHECK_S if len(running) >= MANY else 0.0
        due = [task for task in running if now_s - self._asked_at_s[task] >= every_s]
        self._asked_at_s |= dict.fromkeys(due, now_s)
        return due

    async def _check(self, task: RunningTask) -> None:
        try:
            is_cancelled = await self._worker.client.tasks.is_cancelled(task.task_id)
        except ApiError as error:
            self._note(error)
            return
        if is_cancelled:
            await self._end(task)

    async def _check_all(self) -> None:
        try:
            cancelled = await self._worker.client.tasks.recently_cancelled(
                timeout_s=SHARED_TIMEOUT_S
            )
        except ApiError as error:
            self._note(error)
            return
        finally:
            self._asks_all = False
        for task in self._worker.slots:
            if task.has_task and task.task_id in cancelled:
                await self._end(task)

    async def _end(self, task: RunningTask) -> None:
        if await task.end("cancelled", is_ours=False):
            self._worker.log.info(Event.TASK_CANCELLED, task=task.task_id)

    def _note(self, error: ApiError) -> None:
        self._worker.log.debug(Event.API_REFUSED, call="cancelled-tasks", why=str(error))
