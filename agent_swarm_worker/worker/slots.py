"""The tasks that run now, and room for more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from anyio.abc import TaskGroup

    from agent_swarm_worker.contract import ProviderSession


PAUSED = "paused"
"""What ended the session of a task that is to go on later."""
RESUMED = "task_resumed"
"""The trigger type of a task that goes on after a pause."""


@dataclass(slots=True, eq=False)
class RunningTask:
    """One task in work, from the claim to the finish."""

    task_id: str
    """The real task id, or a made-up one for a trigger without a task."""
    has_task: bool
    session_uuid: str
    trigger_type: str
    description: str = ""
    handle: str = ""
    """Of the guest in which the session runs, once it is open."""
    observe_only: bool = False
    """An offered task: the worker neither reports progress nor finishes it (API reference 3.2)."""
    was_paused: bool = False
    """Somebody had paused it before this session; the server does not forget that."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around the whole run; cancelled only if there is no session, or one that cannot abort."""
    session: ProviderSession | None = None
    ended_by: str | None = None
    """Why the worker ended it: cancelled, lost, graceful_shutdown, tool-loop, …"""
    is_ours: bool = True
    """False once the server took the task away; then its result is not ours to write."""
    is_over: bool = False
    """True once the session has ended; what is left is to tell the server."""
    over: anyio.Event = field(default_factory=anyio.Event)
    """Set with `is_over`."""
    said_result: bool = False
    """True while the last thing the session said is its result: it only has to leave."""
    session_row: bool = False
    """True once the server has a row for the running session."""
    stop_progress: Callable[[], None] = lambda: None
    """Called before the task is handed over: late progress would bring it back to life."""

    async def end(self, reason: str, *, is_ours: bool = True) -> bool:
        """Stop this task's work; true for the first who asks."""
        if self.ended_by is not None:
            return False
        self.ended_by = reason
        self.is_ours = self.is_ours and is_ours
        if self.session is None:
            self.scope.cancel()
            return True
        try:
            await self.session.abort(reason)
        except Exception:  # a provider's mistake must not end the loop that wants its session ended
            self.scope.cancel()
        return True


class Slots:
    """At most `capacity` tasks at once."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._running: dict[str, RunningTask] = {}
        self._changed = anyio.Event()

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
        self._notify()

    def add(self, task: RunningTask) -> None:
        """Take a slot."""
        self._running[task.task_id] = task
        self._notify()

    def remove(self, task: RunningTask) -> None:
        """Give the slot back."""
        if self._running.get(task.task_id) is task:
            del self._running[task.task_id]
        self._notify()

    @property
    def has_room(self) -> bool:
        """True if one more may run."""
        return len(self._running) < self._capacity

    async def wait_free(self) -> None:
        """Return when there is room."""
        while not self.has_room:
            await self._changed.wait()

    async def wait_empty(self) -> None:
        """Return when nothing runs."""
        while self._running:
            await self._changed.wait()

    def _notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


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
