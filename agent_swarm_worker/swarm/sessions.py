"""The server's list of running sessions: what keeps a task ours (API reference section 2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.errors import ApiRefused
from agent_swarm_worker.swarm.address import segment
from agent_swarm_worker.swarm.generations import Feature
from agent_swarm_worker.swarm.wire import Row, Task

if TYPE_CHECKING:
    from agent_swarm_worker.swarm.generations import Generations
    from agent_swarm_worker.swarm.http import Http

MAX_DESCRIPTION_CHARS = 200
_BASE = "/api/active-sessions"


class Sessions:
    """The endpoints about active sessions."""

    def __init__(self, http: Http, generations: Generations) -> None:
        self._http, self._generations = http, generations

    async def create(
        self,
        *,
        agent_id: str,
        trigger_type: str,
        task_id: str | None = None,
        description: str | None = None,
        session_uuid: str | None = None,
    ) -> None:
        """Announce a session (E23); right after the claim, before the harness is even started.

        A task has one row at most, and one left from before keeps its old heartbeat and refuses
        the new one, so it is replaced.
        """
        body = {
            "agentId": agent_id,
            "taskId": task_id,
            "triggerType": trigger_type,
            "taskDescription": (description or "")[:MAX_DESCRIPTION_CHARS] or None,
            "runnerSessionId": session_uuid,
            "runtimeInstanceId": self._http.runtime_instance_id,
        }
        await self._generations.attempt(
            Feature.ACTIVE_SESSIONS, lambda: self._create(body, task_id)
        )

    async def _create(self, body: dict[str, Any], task_id: str | None) -> None:
        try:
            await self._http.request("POST", _BASE, body=body)
        except ApiRefused as refusal:
            if task_id is None or "UNIQUE" not in refusal.message:
                raise
            await self._http.request("DELETE", _by_task(task_id))
            await self._http.request("POST", _BASE, body=body)

    async def delete(self, task_id: str) -> None:
        """Take the session of a task off the list (E24)."""
        path = _by_task(task_id)
        await self._generations.attempt(
            Feature.ACTIVE_SESSIONS, lambda: self._http.request("DELETE", path)
        )

    async def heartbeat(self, task_id: str) -> bool:
        """Say that the session lives (E26).

        Returns:
            False if the server has no such session: it was reaped, or its task has ended. True
            also when the server does not know heartbeats at all.
        """
        path = f"{_BASE}/heartbeat/{segment(task_id)}"
        answer = await self._generations.attempt(
            Feature.SESSION_HEARTBEAT, lambda: self._http.call("PUT", path)
        )
        return Row(answer).flag("updated", default=True)

    async def provider_session(self, task_id: str, provider_session_id: str) -> bool:
        """Name the harness's own session (E27); False if the server has no such row (yet)."""
        path = f"{_BASE}/provider-session/{segment(task_id)}"
        body = {"providerSessionId": provider_session_id}
        answer = await self._generations.attempt(
            Feature.ACTIVE_SESSIONS, lambda: self._http.call("PUT", path, body=body)
        )
        return Row(answer).flag("updated", default=True)

    async def recover_orphaned(self, agent_id: str, *, min_age_s: int = 60) -> tuple[Task, ...]:
        """Put this agent's claimed but never started tasks back in the queue (E25).

        Only while nothing runs: a running task without a session on record would be put back too.
        """
        body = {"agentId": agent_id, "minAgeSeconds": min_age_s}
        answer = await self._generations.attempt(
            Feature.SESSION_RECOVERY,
            lambda: self._http.call("POST", f"{_BASE}/recover-orphaned-tasks", body=body),
        )
        return Row(answer).rows("tasks", Task.from_wire)

    async def cleanup(self, agent_id: str) -> None:
        """Drop all rows of this agent (E28); only at boot."""
        await self._generations.attempt(
            Feature.ACTIVE_SESSIONS,
            lambda: self._http.request("POST", f"{_BASE}/cleanup", body={"agentId": agent_id}),
        )


def _by_task(task_id: str) -> str:
    return f"{_BASE}/by-task/{segment(task_id)}"
