"""Who we are: registration, liveness, credentials, profile (docs/api.md 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.errors import ApiGarbled
from agent_swarm_worker.swarm.address import segment
from agent_swarm_worker.swarm.body import NULL
from agent_swarm_worker.swarm.generations import Feature
from agent_swarm_worker.swarm.wire import Agent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.swarm.generations import Generations
    from agent_swarm_worker.swarm.http import Http


class Agents:
    """The endpoints about agents."""

    def __init__(self, http: Http, generations: Generations) -> None:
        self._http, self._generations = http, generations

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
        await self._generations.attempt(Feature.ACTIVITY, lambda: self._http.request("PUT", path))

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
        await self._generations.attempt(
            Feature.CREDENTIAL_STATUS, lambda: self._http.request("PUT", path, body=body)
        )


def _agent(path: str, answer: object) -> Agent:
    agent = Agent.from_wire(answer)
    if agent is None:
        raise ApiGarbled(path, "not an agent")
    return agent
