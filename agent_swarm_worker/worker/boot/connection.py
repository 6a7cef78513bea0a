"""Connects a worker process to the API; imports little, so that the first request is early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_swarm_worker.api.first_request import FirstRequest
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.state.directory import generated_agent_id

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.settings import Settings


@dataclass(slots=True)
class ApiConnection:
    """The connection of one process, and who it is to the server."""

    agent_id: str
    runtime_id: str
    http: Http
    first_request: FirstRequest | None = None
    """Set if it is under way before the worker is wired."""

    async def send_first_request(self) -> None:
        """Request the configuration rows, which `boot` waits for."""
        self.first_request = FirstRequest(self.http, self.agent_id)
        await self.first_request.run()


def connect(settings: Settings, *, clock: Clock, ids: IdSource, log: Log) -> ApiConnection:
    """Prepare the connection; enter its ``http`` before the first call."""
    agent_id = settings.agent_id or generated_agent_id(settings.state_root(), ids)
    runtime_id = ids()
    http = Http(
        settings.api_url,
        health=ApiHealth(clock, log),
        api_key=settings.api_key,
        agent_id=agent_id,
        runtime_instance_id=runtime_id,
        timeout_s=settings.api_timeout_s,
    )
    return ApiConnection(agent_id, runtime_id, http)
