"""Keeps the tasks of this process: the running ones, their slots, and the paused ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

import anyio
import orjson

from agent_swarm_worker.aio import Broadcast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from anyio.abc import TaskGroup

    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.contract import ProviderSession
    from agent_swarm_worker.state.directory import StateDir

PAUSED = "paused"
"""`ended_by` of a task that was paused."""
RESUMED = "task_resumed"
"""The trigger type of a task that is resumed after a pause."""
GRACEFUL_SHUTDOWN: Final = "graceful_shutdown"
"""`ended_by` of a task that a shutdown handed back."""
PAUSED_NOTE = "paused"


class TaskState(StrEnum):
    """How far a task has come in this process. `docs/state-machine.md` has the table."""

    RESERVED = "reserved"
    """Holds a slot and beats while the claim is verified; no session is begun under it."""
    PREPARING = "preparing"
    """Claimed; its session is being prepared."""
    RUNNING = "running"
    ANSWERED = "answered"
    """Its session runs, and its last output is the result: it only has to exit."""
    ENDING = "ending"
    """The worker has ended it, and its session is about to exit."""
    REPORTING = "reporting"
    """The session has ended, or never began; the report is left."""
    LOST = "lost"
    """As `REPORTING`, but the task was taken away: its result is not reported."""


TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.RESERVED: frozenset(),
    TaskState.PREPARING: frozenset({TaskState.RUNNING, TaskState.ENDING, TaskState.REPORTING}),
    TaskState.RUNNING: frozenset({TaskState.ANSWERED, TaskState.ENDING, TaskState.REPORTING}),
    TaskState.ANSWERED: frozenset({TaskState.RUNNING, TaskState.ENDING, TaskState.REPORTING}),
    TaskState.ENDING: frozenset({TaskState.REPORTING, TaskState.LOST}),
    TaskState.REPORTING: frozenset({TaskState.LOST}),
    TaskState.LOST: frozenset(),
}
"""All allowed changes; `RunningTask` refuses any other."""
_LIVE = frozenset({TaskState.PREPARING, TaskState.RUNNING, TaskState.ANSWERED, TaskState.ENDING})


@dataclass(slots=True, eq=False)
class RunningTask:
    """One task of this process, from the claim to the finish."""

    task_id: str
    """The real task id, or a generated one for a trigger without a task."""
    has_task: bool
    session_uuid: str
    trigger_type: str
    description: str = ""
    handle: str = ""
    """Of the guest in which the session runs, once it is open."""
    observe_only: bool = False
    """An offered task: the worker neither reports progress nor finishes it (docs/api.md 4.4)."""
    was_paused: bool = False
    session_row: bool = False
    handed_back: bool = False
    """A shutdown has begun to supersede it."""
    stop_progress: Callable[[], None] = lambda: None
    """Called before the task is handed back: late progress would resume it."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around the whole run; cancelled only if there is no session, or one that cannot abort."""
    over: anyio.Event = field(default_factory=anyio.Event)
    _state: TaskState = field(default=TaskState.PREPARING, init=False)
    _session: ProviderSession | None = field(default=None, init=False)
    _ended_by: str | None = field(default=None, init=False)
    _is_lost: bool = field(default=False, init=False)

    @classmethod
    def reserved(cls, task_id: str, session_uuid: str, trigger_type: str) -> Self:
        """Make a reservation: it holds a slot while a claim is verified."""
        task = cls(task_id, False, session_uuid, trigger_type)
        task._state = TaskState.RESERVED
        return task

    @classmethod
    def reporting(cls, task_id: str, session_uuid: str, trigger_type: str) -> Self:
        """Make a task of an earlier process whose result is not delivered yet."""
        task = cls(task_id, True, session_uuid, trigger_type)
        task._state = TaskState.REPORTING
        return task

    @property
    def state(self) -> TaskState:
        """Its state."""
        return self._state

    @property
    def is_live(self) -> bool:
        """True from the claim until its session has ended."""
        return self._state in _LIVE

    @property
    def session(self) -> ProviderSession | None:
        """Its session, once it was created."""
        return self._session

    @property
    def ended_by(self) -> str | None:
        """Why the worker ended it, such as ``cancelled``, ``lost`` or ``tool-loop: …``."""
        return self._ended_by

    @property
    def is_ours(self) -> bool:
        """False once the server took the task away; then its result is not reported."""
        return not self._is_lost

    def is_assigned_elsewhere(self, current: Task, agent_id: str) -> bool:
        """True if the task as the server has it is another agent's.

        An offer stays this agent's to decide, whoever it is assigned to meanwhile: the server
        assigns a task without an agent to the lead (docs/api.md 4.4).
        """
        if self.observe_only and current.offered_to == agent_id:
            return False
        return current.agent_id not in (None, agent_id)

    @property
    def takes_messages(self) -> bool:
        """True while its session can take steering messages."""
        return self.has_task and self._state in {TaskState.RUNNING, TaskState.ANSWERED}

    # --- changes of its state
    def begin(self, session: ProviderSession) -> None:
        """Store its session; a task that was ended meanwhile stays in `ENDING`."""
        if self._state is not TaskState.ENDING or self._session is not None:
            self._enter(TaskState.RUNNING, only_from=TaskState.PREPARING)
        self._session = session

    def continue_with(self, session: ProviderSession) -> None:
        """Replace its session, which has ended, by one that continues it."""
        self._session = session
        self.track_output(is_result=False)

    def track_output(self, *, is_result: bool) -> None:
        """Record whether the last output of its session is the result."""
        if self._state is TaskState.RUNNING and is_result:
            self._enter(TaskState.ANSWERED)
        elif self._state is TaskState.ANSWERED and not is_result:
            self._enter(TaskState.RUNNING)

    async def end(self, reason: str, *, is_ours: bool = True) -> bool:
        """End the session; true for the first call.

        `is_ours` is false if the task was taken away. That also counts after its session has ended,
        unless this was called before.
        """
        if self._ended_by is not None or self._state in {TaskState.RESERVED, TaskState.LOST}:
            return False
        if self._state is TaskState.REPORTING:
            if not is_ours:
                self._ended_by = reason
                self.lose()
            return not is_ours
        self._ended_by, self._is_lost = reason, not is_ours
        self._enter(TaskState.ENDING)
        if self._session is None:
            self.scope.cancel()
            return True
        try:
            await self._session.abort(reason)
        except Exception:  # a provider's error must not end the calling loop
            self.scope.cancel()
        return True

    def session_ended(self, cause: str | None) -> None:
        """Record that its session has ended, or will not begin.

        `cause` is why the worker ended it; ``None`` if it ended by itself.
        """
        self._ended_by = cause
        self._enter(TaskState.LOST if self._is_lost else TaskState.REPORTING)
        self.over.set()

    def lose(self) -> None:
        """Record, after its session has ended, that the task was taken away."""
        if self._state is not TaskState.LOST:
            self._enter(TaskState.LOST)
        self._is_lost = True

    def _enter(self, state: TaskState, *, only_from: TaskState | None = None) -> None:
        if state not in TRANSITIONS[self._state] or only_from not in (None, self._state):
            raise RuntimeError(f"a task that is {self._state} cannot become {state}")
        self._state = state


class Slots:
    """At most `capacity` tasks at once."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._running: dict[str, RunningTask] = {}
        self._changed = Broadcast()

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[RunningTask]:
        return iter(tuple(self._running.values()))

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._running

    @property
    def capacity(self) -> int:
        """How many may run at once. A smaller capacity ends no running task."""
        return self._capacity

    @capacity.setter
    def capacity(self, value: int) -> None:
        self._capacity = value
        self._changed.notify()

    def add(self, task: RunningTask) -> None:
        """Take a slot."""
        self._running[task.task_id] = task
        self._changed.notify()

    def remove(self, task: RunningTask) -> None:
        """Release the slot."""
        if self._running.get(task.task_id) is task:
            del self._running[task.task_id]
        self._changed.notify()

    @property
    def has_room(self) -> bool:
        """True if a slot is free."""
        return len(self._running) < self._capacity

    async def wait_free(self) -> None:
        """Return when a slot is free."""
        await self._changed.wait_for(lambda: self.has_room)

    async def wait_empty(self) -> None:
        """Return when nothing runs."""
        await self._changed.wait_for(lambda: not self._running)


class PerTask:
    """Runs an action per task, concurrently: a slow one delays no other task."""

    def __init__(self, group: TaskGroup, action: Callable[[RunningTask], Awaitable[None]]) -> None:
        self._group, self._action = group, action
        self._busy: set[RunningTask] = set()

    def start(self, task: RunningTask) -> None:
        """Start the action for a task, unless one for it is still running."""
        if task not in self._busy:
            self._busy.add(task)
            self._group.start_soon(self._run, task)

    async def _run(self, task: RunningTask) -> None:
        try:
            await self._action(task)
        finally:
            self._busy.discard(task)


class PausedTaskStore:
    """The paused tasks to continue when they are resumed; stored on each change."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._by_shutdown: dict[str, bool] = {}
        """By task, whether a shutdown paused it."""
        try:
            noted = orjson.loads(state.noted(PAUSED_NOTE) or "")
        except ValueError:
            return
        if isinstance(noted, dict):
            self._by_shutdown = {
                task_id: by_shutdown is True for task_id, by_shutdown in noted.items()
            }

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._by_shutdown))

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._by_shutdown

    def was_paused_by_shutdown(self, task_id: str) -> bool:
        """True if a shutdown paused the task, rather than a person."""
        return self._by_shutdown.get(task_id, False)

    def add(self, task_id: str, *, by_shutdown: bool = False) -> None:
        """Store a paused task; one paused by a shutdown is resumed by this worker itself."""
        if self._by_shutdown.get(task_id) is not by_shutdown:
            self._by_shutdown[task_id] = by_shutdown
            self._write()

    def discard(self, task_id: str) -> None:
        """Remove a task that will not be continued."""
        if self._by_shutdown.pop(task_id, None) is not None:
            self._write()

    def _write(self) -> None:
        self._state.note(PAUSED_NOTE, orjson.dumps(self._by_shutdown).decode())
