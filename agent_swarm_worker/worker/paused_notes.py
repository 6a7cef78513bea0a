"""Which paused tasks are to go on, on disk: a restart forgets none, and resumes no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.swarm.state import StateDir

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
