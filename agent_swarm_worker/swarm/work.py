"""Getting work, and hearing that it is no longer wanted (docs/api.md 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiGarbled
from agent_swarm_worker.swarm.generations import Feature
from agent_swarm_worker.swarm.wire import ChannelCursor, Row, Task, Trigger, trigger_from_wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.swarm.generations import Generations
    from agent_swarm_worker.swarm.http import Http


class Work:
    """The endpoints a worker gets its work from."""

    def __init__(self, http: Http, generations: Generations) -> None:
        self._http, self._generations = http, generations

    async def poll(self) -> Trigger | None:
        """Return the next thing to do, ``None`` if there is none (docs/api.md 4.1).

        What is returned is claimed: there is no acknowledgement, and no asking again.

        Raises:
            ApiGarbled: the answer says nothing about a trigger.
        """
        answer = await self._http.call("GET", "/api/poll")
        if "trigger" not in answer:
            raise ApiGarbled("/api/poll", "no trigger in it")
        value = answer["trigger"]
        return None if value is None else trigger_from_wire(value)

    async def cancelled(self, task_id: str) -> bool:
        """True if the task was cancelled (docs/api.md 5.6); other ends are not told here."""
        answer = await self._generations.attempt(
            Feature.CANCELLED_TASKS,
            lambda: self._http.call("GET", "/cancelled-tasks", params={"taskId": task_id}),
        )
        return any(Row(item).text("id") == task_id for item in Row(answer).array("cancelled"))

    async def lately_cancelled(self, *, timeout_s: float) -> frozenset[str]:
        """Return which of this agent's tasks were cancelled in the last minutes (docs/api.md 5.6).

        Args:
            timeout_s: wall-clock limit of the call.
        """
        answer = await self._generations.attempt(
            Feature.CANCELLED_TASKS,
            lambda: self._http.call("GET", "/cancelled-tasks", timeout_s=timeout_s),
        )
        return frozenset(Row(item).text("id") for item in Row(answer).array("cancelled"))

    async def paused(self) -> tuple[Task, ...]:
        """Return this agent's paused tasks, oldest first (docs/api.md 5.7)."""
        answer = await self._http.call("GET", "/api/paused-tasks")
        return Row(answer).rows("tasks", Task.from_wire)

    async def commit_cursors(self, cursors: Sequence[ChannelCursor]) -> None:
        """Say that channel messages were dealt with (docs/api.md 4.7), lest they come again."""
        body = {"cursorUpdates": [cursor.to_wire() for cursor in cursors]}
        await self._generations.attempt(
            Feature.CHANNEL_CURSORS,
            lambda: self._http.request("POST", "/api/channel-activity/commit-cursors", body=body),
        )
