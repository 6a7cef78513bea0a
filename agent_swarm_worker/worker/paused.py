"""Tasks that were paused, and what makes them go on.

An older server pauses a task in the place of a supersede at a shutdown (API reference 6.2), and
anybody may pause one that runs (E17): its session is then ended, and begun again once somebody
resumes the task (E18). Of that no trigger tells, so it is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_swarm_worker.swarm.wire import Task
    from agent_swarm_worker.worker.context import Worker

LOOK_INTERVAL_S = 5.0


class PausedTasks:
    """Begins paused tasks again, through `begin`."""

    def __init__(self, worker: Worker, begin: Callable[[Task], None]) -> None:
        self._worker, self._begin = worker, begin
        self._looked_at_s = worker.clock.monotonic()

    async def resume_all(self, room: Callable[[], Awaitable[bool]]) -> None:
        """Take up, at the start, whatever is paused; `room` is false if there will be none."""
        worker = self._worker
        try:
            rows = await worker.client.work.paused()
        except ApiError as error:
            worker.log.warning(Event.API_REFUSED, call="paused-tasks", why=str(error))
            return
        for row in rows:
            if row.finished_at or row.output or row.id in worker.slots:
                continue
            if not await room():
                return
            await self._resume(row)

    async def _resume(self, row: Task) -> None:
        worker = self._worker
        try:
            resumed = await worker.client.tasks.resume(row.id)
        except ApiError as error:
            worker.log.warning(Event.API_REFUSED, call="resume", task=row.id, why=str(error))
            return
        worker.log.info(Event.TASK_RECOVERED, task=row.id, why="it was paused")
        self._begin(replace(resumed, progress=row.progress))

    async def look(self) -> None:
        """Take up one of the tasks that were paused here and have been resumed since."""
        worker, now_s = self._worker, self._worker.clock.monotonic()
        if now_s - self._looked_at_s < LOOK_INTERVAL_S:
            return
        self._looked_at_s = now_s
        for task_id in sorted(worker.paused - {task.task_id for task in worker.slots}):
            row = await self._current(task_id)
            if row is None or row.status == "paused":
                continue
            worker.paused.discard(task_id)
            if row.status == "in_progress" and row.agent_id == worker.agent_id:
                worker.log.info(Event.TASK_RECOVERED, task=task_id, why="it was resumed")
                self._begin(row)
                return

    async def _current(self, task_id: str) -> Task | None:
        try:
            return await self._worker.client.tasks.get(task_id, logs_limit=1)
        except ApiError as error:
            if isinstance(error, ApiRefused) and error.status == 404:
                self._worker.paused.discard(task_id)
            return None
