"""The server's configuration rows (docs/api.md 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiRefused, RouteMissing
from agent_swarm_worker.swarm.address import segment
from agent_swarm_worker.swarm.wire import ConfigRow, Row

if TYPE_CHECKING:
    from agent_swarm_worker.swarm.http import Http


class Config:
    """The endpoints about configuration."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def resolved(self, agent_id: str | None = None) -> tuple[ConfigRow, ...]:
        """Return what applies to an agent, or to all, with secrets in clear; sorted by key."""
        query = {"agentId": agent_id, "includeSecrets": "true"}
        answer = await self._http.call("GET", "/api/config/resolved", params=query)
        return Row(answer).rows("configs", ConfigRow.from_wire)

    async def put(
        self,
        key: str,
        value: str,
        *,
        scope: str = "global",
        scope_id: str | None = None,
        is_secret: bool = False,
        description: str | None = None,
    ) -> None:
        """Store one row, in place of the one of the same scope and key."""
        body = {
            "scope": scope,
            "scopeId": scope_id,
            "key": key,
            "value": value,
            "isSecret": is_secret,
            "description": description,
        }
        await self._http.request("PUT", "/api/config", body=body)

    async def delete(self, row_id: str) -> bool:
        """Delete one row; false if there is none (any more)."""
        try:
            await self._http.request("DELETE", f"/api/config/{segment(row_id)}")
        except RouteMissing:
            raise
        except ApiRefused as refusal:
            if refusal.status != 404:
                raise
            return False
        return True
