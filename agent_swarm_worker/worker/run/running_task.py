"""The tasks that run now, and room for more."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import anyio

from agent_swarm_worker.aio import Broadcast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from anyio.abc import TaskGroup

    from agent_swarm_worker.contract import ProviderSession

PAUSED = "paused"
"""What ended the session of a task that is to go on later."""
RESUMED = "task_resumed"
"""The trigger type of a task that goes on after a pause."""


class TaskState(StrEnum):
    """How far a task has come in this process. `docs/state-machine.md` has the table."""

    RESERVED = "reserved"
    """Holds a slot and beats while the claim is verified; no session is begun under it."""
    PREPARING = "preparing"
    """Claimed; its session is being prepared."""
    RUNNING = "running"
    """Its session lives."""
    ANSWERED = "answered"
    """Its session lives, and the last thing it said is its result: it only has to leave."""
    ENDING = "ending"
    """The worker has asked for its end."""
    REPORTING = "reporting"
    """The session has ended, or never began; what is left is to tell the server."""
    LOST = "lost"
    """As `REPORTING`, but the task was taken away: its result is not ours to write."""


TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.RESERVED: frozenset(),
    TaskState.PREPARING: frozenset({TaskState.RUNNING, TaskState.ENDING, TaskState.REPORTING}),
    TaskState.RUNNING: frozenset({TaskState.ANSWERED, TaskState.ENDING, TaskState.REPORTING}),
    TaskState.ANSWERED: frozenset({TaskState.RUNNING, TaskState.ENDING, TaskState.REPORTING}),
    TaskState.ENDING: frozenset({TaskState.REPORTING, TaskState.LOST}),
    TaskState.REPORTING: frozenset({TaskState.LOST}),
    TaskState.LOST: frozenset(),
}
"""All changes there are; `RunningTask` refuses any other."""
_LIVE = frozenset({TaskState.PREPARING, TaskState.RUNNING, TaskState.ANSWERED, TaskState.ENDING})


@dataclass(slots=True, eq=False)
class RunningTask:
    """One task in work, from the claim to the finish: facts about it, and its state."""

    task_id: str
    """The real task id, or a made-up one for a trigger without a task."""
    has_task: bool
    session_uuid: str
    trigger_type: str
    description: str = ""
    handle: str = ""
    """Of the guest in which the session runs, once it is open."""
    observe_only: bool = False
    """An offered task: the worker neither reports progress nor finishes it (docs/api.md 4.4)."""
    was_paused: bool = False
    """Somebody had paused it before this session; the server does not forget that."""
    session_row: bool = False
    """True once the server has a row for the running session."""
    stop_progress: Callable[[], None] = lambda: None
    """Called before the task is handed over: late progress would bring it back to life."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around the whole run; cancelled only if there is no session, or one that cannot abort."""
    over: anyio.Event = field(default_factory=anyio.Event)
    """Set when the session has ended."""
    _state: TaskState = field(default=TaskState.PREPARING, init=False)
    _session: ProviderSession | None = field(default=None, init=False)
    _ended_by: str | None = field(default=None, init=False)
    _is_lost: bool = field(default=False, init=False)

    @classmethod
    def reserved(cls, task_id: str, session_uuid: str, trigger_type: str) -> Self:
        """Make what holds a slot while it is verified that a claimed task is ours."""
        task = cls(task_id, False, session_uuid, trigger_type)
        task._state = TaskState.RESERVED
        return task

    @classmethod
    def reporting(cls, task_id: str, session_uuid: str, trigger_type: str) -> Self:
        """Make a task whose session ran in an earlier process and whose result is on its way."""
        task = cls(task_id, True, session_uuid, trigger_type)
        task._state = TaskState.REPORTING
        return task

    @property
    def state(self) -> TaskState:
        """How far it has come."""
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
        """False once the server took the task away; then its result is not ours to write."""
        return not self._is_lost

    @property
    def takes_messages(self) -> bool:
        """True while a message for its session makes sense."""
        return self.has_task and self._state in {TaskState.RUNNING, TaskState.ANSWERED}

    # --- the changes of its state
    def begin(self, session: ProviderSession) -> None:
        """Note its session. One that was asked to end meanwhile stays in `ENDING`."""
        if self._state is not TaskState.ENDING or self._session is not None:
            self._enter(TaskState.RUNNING, only_from=TaskState.PREPARING)
        self._session = session

    def heard(self, *, is_result: bool) -> None:
        """Note whether the last thing its session said is its result."""
        if self._state is TaskState.RUNNING and is_result:
            self._enter(TaskState.ANSWERED)
        elif self._state is TaskState.ANSWERED and not is_result:
            self._enter(TaskState.RUNNING)

    async def end(self, reason: str, *, is_ours: bool = True) -> bool:
        """Stop this task's work; true for the first who asks.

        Args:
            reason: why, for the result and for people.
            is_ours: false if the task was taken away. That counts after its session, too, as
                long as nobody has asked before.
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
        except Exception:  # a provider's mistake must not end the loop that wants its session ended
            self.scope.cancel()
        return True

    def report(self, cause: str | None) -> None:
        """Note that its session has ended, or will not begin.

        Args:
            cause: why the worker ended it, with the session's last words weighed; ``None`` if it
                ended by itself.
        """
        self._ended_by = cause
        self._enter(TaskState.LOST if self._is_lost else TaskState.REPORTING)
        self.over.set()

    def lose(self) -> None:
        """Note, from its end on, that the task was taken away."""
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
        """How many may run at once. Shrinking ends nothing."""
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
        """Give the slot back."""
        if self._running.get(task.task_id) is task:
            del self._running[task.task_id]
        self._changed.notify()

    @property
    def has_room(self) -> bool:
        """True if one more may run."""
        return len(self._running) < self._capacity

    async def wait_free(self) -> None:
        """Return when there is room."""
        await self._changed.wait_for(lambda: self.has_room)

    async def wait_empty(self) -> None:
        """Return when nothing runs."""
        await self._changed.wait_for(lambda: not self._running)


class PerTask:
    """Does something for tasks, for each on its own: a slow one holds up no other."""

    def __init__(self, group: TaskGroup, action: Callable[[RunningTask], Awaitable[None]]) -> None:
        self._group, self._action = group, action
        self._busy: set[RunningTask] = set()

    def start(self, task: RunningTask) -> None:
        """Begin the action for a task, unless the last one for it is still under way."""
        if task not in self._busy:
            self._busy.add(task)
            self._group.start_soon(self._run, task)

    async def _run(self, task: RunningTask) -> None:
        try:
            await self._action(task)
        finally:
            self._busy.discard(task)
