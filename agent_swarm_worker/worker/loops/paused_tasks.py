"""Resumes paused tasks.

An older server pauses a task instead of superseding it at a shutdown (docs/api.md 5.7); the next
start resumes those. Also, anybody may pause a running task (docs/api.md 5.8): its session is ended,
and another begun after somebody resumes the task. No trigger reports that, so the task is read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.worker.boot.parts import LoopParts

CHECK_INTERVAL_S = 5.0
HISTORY_ROWS = 100
STATUS_CHANGE = "task_status_change"
GONE_STATUSES = (403, 404)


class PausedTaskResumer:
    """Begins paused tasks again, by calling `begin`."""

    def __init__(self, worker: LoopParts, begin: Callable[[Task], None]) -> None:
        self._worker, self._begin = worker, begin
        self._store = worker.paused_tasks
        self._checked_at_s = worker.clock.monotonic()
        self._has_listed = False

    async def resume_all(self, wait_for_slot: Callable[[], Awaitable[bool]]) -> None:
        """Resume the tasks that a shutdown paused; `wait_for_slot` is false if none comes free."""
        for row in await self._paused_by_us():
            if not await wait_for_slot():
                return
            await self._resume_or_skip(row)

    async def check(self) -> None:
        """Begin one of the tasks that were resumed since their session was ended here."""
        now_s = self._worker.clock.monotonic()
        if now_s - self._checked_at_s < CHECK_INTERVAL_S:
            return
        self._checked_at_s = now_s
        if not self._has_listed:
            await self._paused_by_us()
        running = {task.task_id: task for task in self._worker.slots}
        for task_id in self._store:
            if task_id not in running:
                row = await self._current(task_id)
                if row is not None and await self._resume_or_skip(row):
                    return
            elif running[task_id].ended_by is None:
                # Only now: a running task has a claim, so that a crash does not lose it.
                self._store.discard(task_id)

    async def _paused_by_us(self) -> list[Task]:
        """Return the tasks that a shutdown paused, and store them; listed once per process."""
        worker = self._worker
        rows, worker.paused_at_start = worker.paused_at_start, None
        if rows is None:
            rows = await list_paused(worker)
        if isinstance(rows, ApiError):
            worker.log.warning(Event.API_REFUSED, call="paused-tasks", why=str(rows))
            self._has_listed = isinstance(rows, ApiRefused) and not rows.is_server_fault
            return []
        self._has_listed = True
        for row in rows:
            has_ended = row.finished_at or row.output
            if not has_ended and row.id not in worker.slots and row.id not in self._store:
                self._store.add(row.id, by_shutdown=True)
        return [row for row in rows if self._store.was_paused_by_shutdown(row.id)]

    async def _resume_or_skip(self, row: Task) -> bool:
        """Begin a task that was resumed, or that this worker has to resume; true if begun."""
        worker = self._worker
        if row.status == "paused":
            if not self._store.was_paused_by_shutdown(row.id):
                return False
            resumed = await self._resume(row)
            if resumed is None:
                return False
            row, why = replace(resumed, progress=row.progress), "it was paused"
        elif row.status == "in_progress" and row.agent_id == worker.agent_id:
            if was_resumed(row) is False:
                await self._pause_again(row)
                return False
            why = "it was resumed"
        else:
            self._store.discard(row.id)
            return False
        worker.log.info(Event.TASK_RECOVERED, task=row.id, why=why)
        self._begin(row)
        return True

    async def _resume(self, row: Task) -> Task | None:
        worker = self._worker
        try:
            return await worker.client.tasks.resume(row.id)
        except ApiError as error:
            worker.log.warning(Event.API_REFUSED, call="resume", task=row.id, why=str(error))
            if isinstance(error, ApiRefused) and not error.is_server_fault:
                if error.status in GONE_STATUSES:
                    self._store.discard(row.id)
                else:
                    self._store.add(row.id)  # another process resumed it; `check` reads its status
            return None

    async def _pause_again(self, row: Task) -> None:
        try:
            await self._worker.client.tasks.pause(row.id)
        except ApiError as error:
            self._worker.log.warning(Event.API_REFUSED, call="pause", task=row.id, why=str(error))

    async def _current(self, task_id: str) -> Task | None:
        try:
            return await self._worker.client.tasks.get(task_id, logs_limit=HISTORY_ROWS)
        except ApiError as error:
            if isinstance(error, ApiRefused) and error.status == 404:
                self._store.discard(task_id)
            return None


async def list_paused(worker: LoopParts) -> Sequence[Task] | ApiError:
    """Return this agent's paused tasks, or the error of the API."""
    try:
        return await worker.client.tasks.paused()
    except ApiError as error:
        return error


def was_resumed(task: Task) -> bool | None:
    """Return whether a task in progress was resumed on purpose; ``None`` if that is unknown.

    Late progress resumes it, too (docs/api.md 5.9), without a change of status in its history.
    """
    changes = [row.new_value for row in task.logs if row.event_type == STATUS_CHANGE]
    return changes[0] == "in_progress" if changes else None
