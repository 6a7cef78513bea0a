"""Ends the sessions of cancelled tasks; the server is asked every second.

From four running tasks on, one request asks for all cancelled tasks of this agent. Its answer
covers the last five minutes only, so each task is also checked by itself once a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.run.running_task import PerTask

if TYPE_CHECKING:
    from agent_swarm_worker.worker.boot.parts import LoopParts
    from agent_swarm_worker.worker.run.running_task import RunningTask

BATCH_FROM = 4
OWN_CHECK_S = 60.0
SHARED_TIMEOUT_S = 5.0
"""Shorter than the usual limit: all tasks wait for this answer."""


class Cancellation:
    """Checks the running tasks and ends the cancelled ones (docs/api.md 5.6)."""

    def __init__(self, worker: LoopParts) -> None:
        self._worker = worker
        self._checked_at_s: dict[RunningTask, float] = {}
        """When each task was last checked by itself, or first seen among many."""
        self._is_checking_all = False

    async def run(self) -> None:
        """Check until cancelled."""
        async with anyio.create_task_group() as group:
            checks = PerTask(group, self._check)
            while True:
                running = [t for t in self._worker.slots if t.has_task and t.ended_by is None]
                if len(running) >= BATCH_FROM and not self._is_checking_all:
                    self._is_checking_all = True
                    group.start_soon(self._check_all)
                for task in self._due(running):
                    checks.start(task)
                await self._worker.clock.sleep(self._worker.settings.cancel_check_interval_s)

    def _due(self, running: list[RunningTask]) -> list[RunningTask]:
        """Return the tasks to check by themselves now; of many, none that has just begun."""
        now_s = self._worker.clock.monotonic()
        self._checked_at_s = {task: self._checked_at_s.get(task, now_s) for task in running}
        every_s = OWN_CHECK_S if len(running) >= BATCH_FROM else 0.0
        due = [task for task in running if now_s - self._checked_at_s[task] >= every_s]
        self._checked_at_s |= dict.fromkeys(due, now_s)
        return due

    async def _check(self, task: RunningTask) -> None:
        try:
            is_cancelled = await self._worker.client.tasks.is_cancelled(task.task_id)
        except ApiError as error:
            self._log_refusal(error)
            return
        if is_cancelled:
            await self._end(task)

    async def _check_all(self) -> None:
        try:
            cancelled = await self._worker.client.tasks.recently_cancelled(
                timeout_s=SHARED_TIMEOUT_S
            )
        except ApiError as error:
            self._log_refusal(error)
            return
        finally:
            self._is_checking_all = False
        for task in self._worker.slots:
            if task.has_task and task.task_id in cancelled:
                await self._end(task)

    async def _end(self, task: RunningTask) -> None:
        if await task.end("cancelled", is_ours=False):
            self._worker.log.info(Event.TASK_CANCELLED, task=task.task_id)

    def _log_refusal(self, error: ApiError) -> None:
        self._worker.log.debug(Event.API_REFUSED, call="cancelled-tasks", why=str(error))
