"""The swarm API as one object, with a client per subject: ``client.tasks.finish(...)``.

The clients for agents, polling and steering are here; the others have modules of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.api.approvals import Approvals
from agent_swarm_worker.api.capabilities import Endpoints, Feature
from agent_swarm_worker.api.configuration import Config, Keys, RefreshLocks
from agent_swarm_worker.api.resources import Resources
from agent_swarm_worker.api.sessions import Records, Sessions
from agent_swarm_worker.api.tasks import Tasks
from agent_swarm_worker.api.values import NULL, Row, segment
from agent_swarm_worker.api.wire.bodies import credential_snapshot
from agent_swarm_worker.api.wire.resources import Agent, SteeringMessage
from agent_swarm_worker.api.wire.tasks import ChannelCursor, Trigger, trigger_from_wire
from agent_swarm_worker.errors import ApiGarbled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.api.capabilities import ServerCapabilities
    from agent_swarm_worker.api.http import Http
    from agent_swarm_worker.contract.spec import SteerMode


class SwarmClient:
    """All endpoints, grouped by subject.

    Every method may raise an `errors.ApiError`: `ApiGarbled` if the answer has another shape. A
    method of a feature that the server lacks sends nothing and returns an empty value.
    """

    def __init__(self, http: Http, capabilities: ServerCapabilities) -> None:
        self.http = http
        self.capabilities = capabilities
        self.agents = Agents(http, capabilities)
        self.polling = Polling(http, capabilities)
        self.tasks = Tasks(http, capabilities)
        self.sessions = Sessions(http, capabilities)
        self.keys = Keys(http, capabilities)
        self.config = Config(http, capabilities)
        self.refresh_locks = RefreshLocks(http, capabilities)
        self.records = Records(http, capabilities)
        self.resources = Resources(http, capabilities)
        self.steering = Steering(http, capabilities)
        self.approvals = Approvals(http, capabilities)


class Agents(Endpoints):
    """Registration, liveness, credential status and profile of an agent (docs/api.md 3)."""

    async def register(
        self,
        *,
        name: str,
        is_lead: bool,
        role: str | None = None,
        capabilities: Sequence[str] = (),
        max_tasks: int | None = None,
        provider: str | None = None,
    ) -> Agent:
        """Register or refresh this agent (docs/api.md 3.1).

        For an agent that exists the server ignores name and lead flag, and always role and
        capabilities (see `profile`). A provider unknown to it is refused with 400.
        """
        body = {
            "name": name,
            "isLead": is_lead,
            "role": role,
            "capabilities": list(capabilities),
            "maxTasks": max_tasks,
            "provider": provider,
            "harness_provider": provider,
            "runtimeInstanceId": self._http.runtime_instance_id,
        }
        return _agent("/api/agents", await self._http.call("POST", "/api/agents", body=body))

    async def ping(self) -> None:
        """Report that this process lives (docs/api.md 3.2). 404 if the agent is not known."""
        await self._http.request("POST", "/ping")

    async def close(self) -> None:
        """Report that this process ends (docs/api.md 3.3).

        Supersede running tasks first: a closed agent gets no resume task.
        """
        await self._http.request("POST", "/close")

    async def activity(self, agent_id: str) -> None:
        """Report that the agent is active (docs/api.md 3.4)."""
        path = f"/api/agents/{segment(agent_id)}/activity"
        await self._request_if(Feature.ACTIVITY, "PUT", path)

    async def me(self) -> Agent:
        """Return this agent with its identity texts (docs/api.md 3.5)."""
        return _agent("/me", await self._http.call("GET", "/me"))

    async def credential_status(
        self,
        agent_id: str,
        *,
        ready: bool,
        missing: Sequence[str] = (),
        satisfied_by: str | None = None,
        reported_at_ms: int,
    ) -> None:
        """Report whether the harness has credentials (docs/api.md 3.6).

        ``ready`` sets the agent to idle, even a busy one: call this at boot and on changes only.
        """
        status = credential_snapshot(
            missing=missing if not ready else (),
            satisfied_by=satisfied_by,
            kind="boot",
            reported_at_ms=reported_at_ms,
        )
        body = {
            "ready": ready,
            "missing": NULL if ready else list(missing),
            "cred_status": status,
        }
        await self._put_credential_status(agent_id, body)

    async def report_status(self, agent_id: str, status: Mapping[str, Any]) -> None:
        """Report how a credential did (`wire.bodies.credential_snapshot`), and nothing else."""
        await self._put_credential_status(agent_id, {"cred_status": status})

    async def latest_model(
        self,
        agent_id: str,
        latest_model: Mapping[str, Any],
        cred_status: Mapping[str, Any] | None = None,
    ) -> None:
        """Report the model in use, and how its credential did (docs/api.md 3.6).

        The bodies are those of `wire.bodies`.
        """
        body = {"latest_model": latest_model, "cred_status": cred_status}
        await self._put_credential_status(agent_id, body)

    async def profile(
        self,
        agent_id: str,
        fields: Mapping[str, Any],
        *,
        change_source: str | None = None,
    ) -> None:
        """Change fields of the agent's profile (docs/api.md 3.7).

        A field over its budget refuses the whole request with 400, so send long texts one by one.
        The fields have their wire names: ``role``, ``capabilities``, ``soulMd``, …; the source is
        ``session_sync`` when the agent changed its own files.
        """
        body = {**fields, "changeSource": change_source}
        await self._http.request("PUT", f"/api/agents/{segment(agent_id)}/profile", body=body)

    async def _put_credential_status(self, agent_id: str, body: dict[str, Any]) -> None:
        path = f"/api/agents/{segment(agent_id)}/credential-status"
        await self._request_if(Feature.CREDENTIAL_STATUS, "PUT", path, body=body)


def _agent(path: str, answer: object) -> Agent:
    agent = Agent.from_wire(answer)
    if agent is None:
        raise ApiGarbled(path, "not an agent")
    return agent


class Polling(Endpoints):
    """Triggers, and the cursors of channels that triggers come from (docs/api.md 4)."""

    async def poll(self) -> Trigger | None:
        """Return the next trigger, ``None`` if there is none (docs/api.md 4.1).

        The task of a returned trigger is claimed; the server neither wants an acknowledgement nor
        returns the trigger again.
        """
        answer = await self._http.call("GET", "/api/poll")
        if "trigger" not in answer:
            raise ApiGarbled("/api/poll", "no trigger in it")
        value = answer["trigger"]
        return None if value is None else trigger_from_wire(value)

    async def commit_cursors(self, cursors: Sequence[ChannelCursor]) -> None:
        """Mark channel messages as handled (docs/api.md 4.7), so that they are not sent again."""
        body = {"cursorUpdates": [cursor.to_wire() for cursor in cursors]}
        await self._request_if(
            Feature.CHANNEL_CURSORS, "POST", "/api/channel-activity/commit-cursors", body=body
        )


class Steering(Endpoints):
    """Messages for running sessions (docs/api.md 12)."""

    async def pending(self, task_id: str) -> tuple[SteeringMessage, ...]:
        """Return the waiting messages of a task, oldest first (docs/api.md 12.1)."""
        return await self._messages("/api/steering-messages", {"taskId": task_id})

    async def of_task(self, task_id: str) -> tuple[SteeringMessage, ...]:
        """Return all messages of a task, of any status (docs/api.md 12.3)."""
        return await self._messages(f"/api/tasks/{segment(task_id)}/steering-messages", {})

    async def delivered(self, message_id: str, mode: SteerMode) -> None:
        """Report that the session has the message, and how (docs/api.md 12.2). Safe to repeat."""
        await self._report(message_id, "delivered", {"mode": mode})

    async def undeliverable(self, message_id: str, reason: str) -> None:
        """Give a message back; it becomes a follow-up task (docs/api.md 12.2). Safe to repeat."""
        await self._report(message_id, "undeliverable", {"reason": reason or "not deliverable"})

    async def _messages(self, path: str, query: Mapping[str, str]) -> tuple[SteeringMessage, ...]:
        answer = await self._call_if(Feature.STEERING, "GET", path, params=query)
        return Row(answer).rows("messages", SteeringMessage.from_wire)

    async def _report(self, message_id: str, outcome: str, body: Mapping[str, Any]) -> None:
        path = f"/api/steering-messages/{segment(message_id)}/{outcome}"
        await self._request_if(Feature.STEERING, "POST", path, body=body)
