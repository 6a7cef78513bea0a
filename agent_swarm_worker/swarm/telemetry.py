"""Uploads that are records rather than commands (docs/api.md 8 to 10).

None of them is safe to repeat: see `delivery` for what is done about that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.swarm.body import verbatim
from agent_swarm_worker.swarm.generations import Feature
from agent_swarm_worker.swarm.wire import Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.swarm.generations import Generations
    from agent_swarm_worker.swarm.http import Http

MAX_EVENTS = 500
"""The most events one batch may have."""


class Telemetry:
    """The endpoints for logs, costs and events."""

    def __init__(self, http: Http, generations: Generations) -> None:
        self._http, self._generations = http, generations

    async def session_logs(
        self,
        lines: Sequence[str],
        *,
        session_uuid: str,
        iteration: int,
        task_id: str | None = None,
        cli: str | None = None,
    ) -> None:
        """Upload log lines (docs/api.md 8.1). The server numbers them within this request."""
        body = {
            "sessionId": session_uuid,
            "iteration": iteration,
            # Read from the journal or out of the outbox: clean text already.
            "lines": verbatim(list(lines)),
            "taskId": task_id,
            "cli": cli,
        }
        await self._http.request("POST", "/api/session-logs", body=body)

    async def cost(self, row: Mapping[str, Any]) -> None:
        """Upload what a session cost (docs/api.md 10.1); the row comes from `wire.cost_body`."""
        await self._http.request("POST", "/api/session-costs", body=row)

    async def costs_of(
        self, *, task_id: str | None, agent_id: str | None = None
    ) -> tuple[dict[str, Any], ...] | None:
        """Return the newest stored costs of a task, or of an agent; ``None`` if it cannot say."""
        who = {"taskId": task_id} if task_id else {"agentId": agent_id}
        answer = await self._generations.attempt(
            Feature.COSTS,
            lambda: self._http.call("GET", "/api/session-costs", params={**who, "limit": 500}),
        )
        if answer is None:
            return None
        return tuple(row for row in Row(answer).array("costs") if isinstance(row, dict))

    async def stored_events(
        self, *, task_id: str | None, agent_id: str | None, limit: int
    ) -> tuple[dict[str, Any], ...]:
        """Return the newest stored events of a task, or of an agent (docs/api.md 9.4)."""
        who = {"taskId": task_id} if task_id else {"agentId": agent_id}
        answer = await self._http.call("GET", "/api/events", params={**who, "limit": limit})
        return tuple(row for row in Row(answer).array("events") if isinstance(row, dict))

    async def events(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """Upload up to `MAX_EVENTS` events (docs/api.md 9.1); one bad event refuses them all."""
        await self._http.request(
            "POST", "/api/events/batch", body={"events": verbatim(list(batch))}
        )

    async def encoded_events(self, body: bytes) -> None:
        """Upload events as `events` does; the request's body is encoded already."""
        await self._http.request("POST", "/api/events/batch", content=body)
