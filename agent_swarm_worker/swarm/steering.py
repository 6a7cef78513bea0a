"""Messages for running sessions (docs/api.md 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.swarm.address import segment
from agent_swarm_worker.swarm.generations import Feature
from agent_swarm_worker.swarm.wire import Row, SteeringMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract.spec import SteerMode
    from agent_swarm_worker.swarm.generations import Generations
    from agent_swarm_worker.swarm.http import Http


class Steering:
    """The endpoints about steering."""

    def __init__(self, http: Http, generations: Generations) -> None:
        self._http, self._generations = http, generations

    async def pending(self, task_id: str) -> tuple[SteeringMessage, ...]:
        """Return what waits for a task of ours, oldest first (docs/api.md 12.1)."""
        return await self._messages("/api/steering-messages", {"taskId": task_id})

    async def of_task(self, task_id: str) -> tuple[SteeringMessage, ...]:
        """Return all messages a task ever got (docs/api.md 12.3); the caller filters by status."""
        return await self._messages(f"/api/tasks/{segment(task_id)}/steering-messages", {})

    async def delivered(self, message_id: str, mode: SteerMode) -> None:
        """Say that the session has the message, and how (docs/api.md 12.2). Safe to repeat."""
        await self._report(message_id, "delivered", {"mode": mode})

    async def undeliverable(self, message_id: str, reason: str) -> None:
        """Give a message back; it becomes a follow-up task (docs/api.md 12.2). Safe to repeat."""
        await self._report(message_id, "undeliverable", {"reason": reason or "not deliverable"})

    async def _messages(self, path: str, query: Mapping[str, str]) -> tuple[SteeringMessage, ...]:
        answer = await self._generations.attempt(
            Feature.STEERING, lambda: self._http.call("GET", path, params=query)
        )
        return Row(answer).rows("messages", SteeringMessage.from_wire)

    async def _report(self, message_id: str, outcome: str, body: Mapping[str, Any]) -> None:
        path = f"/api/steering-messages/{segment(message_id)}/{outcome}"
        await self._generations.attempt(
            Feature.STEERING, lambda: self._http.request("POST", path, body=body)
        )
