"""Tasks that were paused, and what makes them go on.

An older server pauses a task in the place of a supersede at a shutdown (docs/api.md 5.7): those
are resumed by the next start. And anybody may pause a task that runs (docs/api.md 5.8): its session
is then ended, and begun again once somebody resumes the task, of which no trigger tells, so it is
asked for. Which is which is noted on disk: a restart neither resumes what a person has paused nor
forgets what a person has resumed.

Which paused tasks are to go on, on disk: a restart forgets none, and resumes no other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import orjson

from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.boot.parts import (
    Api,
    Basics,
    Identity,
    PausedAtStart,
    Running,
    Storage,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from agent_swarm_worker.api.wire import Task
    from agent_swarm_worker.state.directory import StateDir

LOOK_INTERVAL_S = 5.0
HISTORY_ROWS = 100
STATUS_CHANGE = "task_status_change"
GONE_STATUSES = (403, 404)


class Parts(Identity, Basics, Api, Storage, Running, PausedAtStart, Protocol):
    """What this module uses of the worker."""


class PausedTasks:
    """Begins paused tasks again, through `begin`."""

    def __init__(self, worker: Parts, begin: Callable[[Task], None]) -> None:
        self._worker, self._begin = worker, begin
        self._notes = worker.paused
        self._looked_at_s = worker.clock.monotonic()
        self._has_asked = False

    async def resume_all(self, room: Callable[[], Awaitable[bool]]) -> None:
        """Take up, at the start, what a shutdown paused; `room` is false if there will be none."""
        for row in await self._paused_by_us():
            if not await room():
                return
            await self._take_up(row)

    async def look(self) -> None:
        """Take up one of the tasks that have been resumed since they were paused here."""
        now_s = self._worker.clock.monotonic()
        if now_s - self._looked_at_s < LOOK_INTERVAL_S:
            return
        self._looked_at_s = now_s
        if not self._has_asked:
            await self._paused_by_us()
        running = {task.task_id: task for task in self._worker.slots}
        for task_id in self._notes:
            if task_id not in running:
                row = await self._current(task_id)
                if row is not None and await self._take_up(row):
                    return
            elif running[task_id].ended_by is None:
                # Only now: what runs is noted as a claim, so that a crash does not forget it.
                self._notes.discard(task_id)

    async def _paused_by_us(self) -> list[Task]:
        """Return, and note, what is paused and by nobody else; asked once in a process."""
        worker = self._worker
        rows, worker.paused_at_start = worker.paused_at_start, None
        if rows is None:
            rows = await list_paused(worker)
        if isinstance(rows, ApiError):
            worker.log.warning(Event.API_REFUSED, call="paused-tasks", why=str(rows))
            self._has_asked = isinstance(rows, ApiRefused) and not rows.is_server_fault
            return []
        self._has_asked = True
        for row in rows:
            has_ended = row.finished_at or row.output
            if not has_ended and row.id not in worker.slots and row.id not in self._notes:
                self._notes.add(row.id, ours=True)
        return [row for row in rows if self._notes.is_ours(row.id)]

    async def _take_up(self, row: Task) -> bool:
        """Begin a task if it was resumed, or if it is for us to do that; true if it was begun."""
        worker = self._worker
        if row.status == "paused":
            if not self._notes.is_ours(row.id):
                return False
            resumed = await self._resume(row)
            if resumed is None:
                return False
            row, why = replace(resumed, progress=row.progress), "it was paused"
        elif row.status == "in_progress" and row.agent_id == worker.agent_id:
            if was_set_going(row) is False:
                await self._pause_again(row)
                return False
            why = "it was resumed"
        else:
            self._notes.discard(row.id)
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
                    self._notes.discard(row.id)
                else:
                    self._notes.add(row.id)  # somebody else was quicker; `look` sees what it is now
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
                self._notes.discard(task_id)
            return None


async def list_paused(worker: Parts) -> Sequence[Task] | ApiError:
    """Return what the server calls paused of this agent's tasks, or why it does not say."""
    try:
        return await worker.client.tasks.paused()
    except ApiError as error:
        return error


def was_set_going(task: Task) -> bool | None:
    """Tell a paused task that somebody resumed from one that only seems to go on.

    A late word about a paused task sets it going, too (docs/api.md 5.9), but only what somebody
    did on purpose is a change of status in the task's history.

    Returns:
        ``None`` if the history does not say.
    """
    changes = [row.new_value for row in task.logs if row.event_type == STATUS_CHANGE]
    return changes[0] == "in_progress" if changes else None


NOTE = "paused"


class PausedNotes:
    """The paused tasks that this worker has to go on with some day; on disk after each change."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._is_ours: dict[str, bool] = {}
        """By task, whether it is for us to resume it."""
        try:
            noted = orjson.loads(state.noted(NOTE) or "")
        except ValueError:
            return
        if isinstance(noted, dict):
            self._is_ours = {task_id: is_ours is True for task_id, is_ours in noted.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._is_ours))

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._is_ours

    def is_ours(self, task_id: str) -> bool:
        """True if nobody else will resume the task."""
        return self._is_ours.get(task_id, False)

    def add(self, task_id: str, *, ours: bool = False) -> None:
        """Note a paused task; `ours` if it is for us to resume it."""
        if self._is_ours.get(task_id) is not ours:
            self._is_ours[task_id] = ours
            self._write()

    def discard(self, task_id: str) -> None:
        """Note that there is nothing left to go on with."""
        if self._is_ours.pop(task_id, None) is not None:
            self._write()

    def _write(self) -> None:
        self._state.note(NOTE, orjson.dumps(self._is_ours).decode())
