"""The swarm API as one object: ``client.tasks.finish(...)``.

Who we are: registration, liveness, credentials, profile (docs/api.md 3).

Getting work, and hearing that it is no longer wanted (docs/api.md 4).

Messages for running sessions (docs/api.md 12).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.api.address import segment
from agent_swarm_worker.api.capabilities import Feature
from agent_swarm_worker.api.configuration import Config, Keys, RefreshLocks
from agent_swarm_worker.api.resources import Resources
from agent_swarm_worker.api.sessions import Sessions, Telemetry
from agent_swarm_worker.api.tasks import Tasks
from agent_swarm_worker.api.wire import (
    Agent,
    ChannelCursor,
    Row,
    SteeringMessage,
    Task,
    Trigger,
    trigger_from_wire,
)
from agent_swarm_worker.api.wire.values import NULL
from agent_swarm_worker.errors import ApiGarbled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.api.capabilities import ServerCapabilities
    from agent_swarm_worker.api.http import Http
    from agent_swarm_worker.contract.spec import SteerMode


class SwarmClient:
    """All endpoints, grouped by concern. Every method may raise `errors.ApiError`.

    A method of a feature the server lacks does nothing and returns what stands for "nothing".
    """

    def __init__(self, http: Http, capabilities: ServerCapabilities) -> None:
        self.http = http
        self.capabilities = capabilities
        self.agents = Agents(http, capabilities)
        self.work = Work(http, capabilities)
        self.tasks = Tasks(http, capabilities)
        self.sessions = Sessions(http, capabilities)
        self.keys = Keys(http, capabilities)
        self.config = Config(http)
        self.refresh_locks = RefreshLocks(http, capabilities)
        self.telemetry = Telemetry(http, capabilities)
        self.resources = Resources(http, capabilities)
        self.steering = Steering(http, capabilities)


class Agents:
    """The endpoints about agents."""

    def __init__(self, http: Http, capabilities: ServerCapabilities) -> None:
        self._http, self._capabilities = http, capabilities

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

        Args:
            name: shown to people; ignored when the agent exists.
            is_lead: ignored when the agent exists.
            role: sent, and dropped by the server; see `profile`.
            capabilities: the same.
            max_tasks: how many tasks the server may give at once.
            provider: a harness name the server knows; it refuses any other with 400.

        Raises:
            ApiGarbled: the answer is not an agent.
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
        """Say that this process lives (docs/api.md 3.2). 404 if the agent is not known."""
        await self._http.request("POST", "/ping")

    async def close(self) -> None:
        """Say that this process goes (docs/api.md 3.3).

        Supersede first: a closed agent gets no resume task.
        """
        await self._http.request("POST", "/close")

    async def activity(self, agent_id: str) -> None:
        """Say that the agent does something (docs/api.md 3.4)."""
        path = f"/api/agents/{segment(agent_id)}/activity"
        await self._capabilities.attempt(Feature.ACTIVITY, lambda: self._http.request("PUT", path))

    async def me(self) -> Agent:
        """Return this agent with its identity texts (docs/api.md 3.5).

        Raises:
            ApiGarbled: the answer is not an agent.
        """
        return _agent("/me", await self._http.call("GET", "/me"))

    async def credential_status(
        self, agent_id: str, *, ready: bool, missing: Sequence[str] = (), reported_at_ms: int
    ) -> None:
        """Say whether the harness can log in (docs/api.md 3.6).

        ``ready`` makes the server call the agent idle, even a busy one: only for boot and changes.
        """
        status = {"ready": ready, "missing": list(missing), "reportedAt": reported_at_ms}
        body = {
            "ready": ready,
            "missing": NULL if ready else list(missing),
            "cred_status": status,
        }
        await self._put_credential_status(agent_id, body)

    async def latest_model(self, agent_id: str, latest_model: Mapping[str, Any]) -> None:
        """Say which model runs (docs/api.md 3.6); the body comes from `wire.latest_model_body`."""
        await self._put_credential_status(agent_id, {"latest_model": latest_model})

    async def profile(
        self,
        agent_id: str,
        fields: Mapping[str, Any],
        *,
        change_source: str | None = None,
    ) -> None:
        """Change fields of the agent's profile (docs/api.md 3.7).

        A field over its budget refuses the whole request with 400, so send long texts one by one.

        Args:
            agent_id: whose.
            fields: by their wire names: ``role``, ``capabilities``, ``soulMd``, ….
            change_source: ``session_sync`` when the agent changed its own files.
        """
        body = {**fields, "changeSource": change_source}
        await self._http.request("PUT", f"/api/agents/{segment(agent_id)}/profile", body=body)

    async def _put_credential_status(self, agent_id: str, body: dict[str, Any]) -> None:
        path = f"/api/agents/{segment(agent_id)}/credential-status"
        await self._capabilities.attempt(
            Feature.CREDENTIAL_STATUS, lambda: self._http.request("PUT", path, body=body)
        )


def _agent(path: str, answer: object) -> Agent:
    agent = Agent.from_wire(answer)
    if agent is None:
        raise ApiGarbled(path, "not an agent")
    return agent


class Work:
    """The endpoints a worker gets its work from."""

    def __init__(self, http: Http, capabilities: ServerCapabilities) -> None:
        self._http, self._capabilities = http, capabilities

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
        answer = await self._capabilities.attempt(
            Feature.CANCELLED_TASKS,
            lambda: self._http.call("GET", "/cancelled-tasks", params={"taskId": task_id}),
        )
        return any(Row(item).text("id") == task_id for item in Row(answer).array("cancelled"))

    async def lately_cancelled(self, *, timeout_s: float) -> frozenset[str]:
        """Return which of this agent's tasks were cancelled in the last minutes (docs/api.md 5.6).

        Args:
            timeout_s: wall-clock limit of the call.
        """
        answer = await self._capabilities.attempt(
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
        await self._capabilities.attempt(
            Feature.CHANNEL_CURSORS,
            lambda: self._http.request("POST", "/api/channel-activity/commit-cursors", body=body),
        )


class Steering:
    """The endpoints about steering."""

    def __init__(self, http: Http, capabilities: ServerCapabilities) -> None:
        self._http, self._capabilities = http, capabilities

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
        answer = await self._capabilities.attempt(
            Feature.STEERING, lambda: self._http.call("GET", path, params=query)
        )
        return Row(answer).rows("messages", SteeringMessage.from_wire)

    async def _report(self, message_id: str, outcome: str, body: Mapping[str, Any]) -> None:
        path = f"/api/steering-messages/{segment(message_id)}/{outcome}"
        await self._capabilities.attempt(
            Feature.STEERING, lambda: self._http.request("POST", path, body=body)
        )
