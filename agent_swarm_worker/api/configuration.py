"""Configuration rows, credential pools and refresh locks of the server (docs/api.md 13, 14)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.api.capabilities import Endpoints, Feature
from agent_swarm_worker.api.first_request import request_configuration
from agent_swarm_worker.api.values import Row, segment
from agent_swarm_worker.api.wire.resources import ConfigRow
from agent_swarm_worker.errors import ApiGarbled, ApiRefused, RouteMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.api.first_request import FirstRequest


class Config(Endpoints):
    """Configuration rows (docs/api.md 13)."""

    first_request: FirstRequest | None = None
    """A request under way; the next call of `resolved` takes its answer."""

    async def resolved(self, agent_id: str | None = None) -> tuple[ConfigRow, ...]:
        """Return the rows that apply to an agent, or to all; secrets in clear, sorted by key."""
        first, self.first_request = self.first_request, None
        answer = await (first.answer() if first else request_configuration(self._http, agent_id))
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
        """Store one row; it replaces the one of the same scope and key."""
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
        """Delete one row; false if it does not exist."""
        try:
            await self._http.request("DELETE", f"/api/config/{segment(row_id)}")
        except RouteMissing:
            raise
        except ApiRefused as refusal:
            if refusal.status != 404:
                raise
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolKey:
    """Identifies one key of a pool without its value."""

    key_type: str
    """Name of the environment variable."""
    suffix: str
    """The last five characters."""
    index: int

    def to_wire(self) -> dict[str, Any]:
        """Return the fields of a report."""
        return {"keyType": self.key_type, "keySuffix": self.suffix, "keyIndex": self.index}


class Keys(Endpoints):
    """Which keys of a credential pool are in use, or limited (docs/api.md 14)."""

    async def available(self, key_type: str, total: int) -> tuple[int, ...] | None:
        """Return the indices of keys without a limit; ``None`` if the server lacks the route."""
        query = {"keyType": key_type, "totalKeys": total}
        answer = await self._call_if(Feature.KEYS, "GET", "/api/keys/available", params=query)
        if answer is None:
            return None
        return tuple(
            index
            for index in Row(answer).array("availableIndices")
            if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < total
        )

    async def limited(self, key_type: str) -> dict[str, str] | None:
        """Return when each limit ends, by the key's suffix; ``None`` without the route."""
        query = {"keyType": key_type}
        answer = await self._call_if(Feature.KEYS, "GET", "/api/keys/status", params=query)
        if answer is None:
            return None
        rows = (Row(row) for row in Row(answer).array("keys"))
        return {
            row.text("keySuffix"): row.text("rateLimitedUntil")
            for row in rows
            if row.text("status") == "rate_limited"
        }

    async def report_usage(self, key: PoolKey, *, task_id: str | None = None) -> None:
        """Count one use of a key, and store the key with the task."""
        await self._post("report-usage", {**key.to_wire(), "taskId": uuid_or_none(task_id)})

    async def report_rate_limit(self, key: PoolKey, *, until: str) -> None:
        """Report until when a key is limited: UTC with a final ``Z``."""
        await self._post("report-rate-limit", {**key.to_wire(), "rateLimitedUntil": until})

    async def report_windows(self, key: PoolKey, windows: Mapping[str, Mapping[str, Any]]) -> None:
        """Report the use of a key's limits; the body comes from `wire.windows_body`."""
        await self._post("report-rate-limit-windows", {**key.to_wire(), "windows": windows})

    async def clear(self, key: PoolKey) -> None:
        """Report that a key works again."""
        body = {"keyType": key.key_type, "keySuffix": key.suffix}
        await self._post("clear-rate-limit", body)

    async def _post(self, action: str, body: Mapping[str, Any]) -> None:
        await self._request_if(Feature.KEYS, "POST", f"/api/keys/{action}", body=body)


def uuid_or_none(value: str | None) -> str | None:
    """Return the task id if it is a UUID; any other makes the server refuse the whole report."""
    try:
        return str(uuid.UUID(value)) if value else None
    except ValueError:
        return None


NO_LOCKS = ""
"""The owner of a lock on a server without locks, where every caller gets it."""


class RefreshLocks(Endpoints):
    """Locks with which one worker at a time refreshes a shared login (docs/api.md 13.4)."""

    async def acquire(self, key: str, *, ttl_ms: int) -> str | None:
        """Take a lock, which the server releases after `ttl_ms`; return the owner to release it.

        ``None`` while another owner holds it; `NO_LOCKS` if the server has no locks.
        """
        path = f"/api/oauth/refresh-locks/{segment(key)}"
        try:
            answer = await self._call_if(
                Feature.REFRESH_LOCKS, "POST", path, body={"ttlMs": ttl_ms}
            )
        except ApiRefused as refusal:
            if refusal.status != 409:
                raise
            return None
        if answer is None:
            return NO_LOCKS
        owner = Row(answer).text("owner")
        if not owner:
            raise ApiGarbled(self._http.shown_url + path, "a lock without an owner")
        return owner

    async def release(self, key: str, owner: str) -> None:
        """Release a lock; one that has expired is no error."""
        if owner == NO_LOCKS:
            return
        path = f"/api/oauth/refresh-locks/{segment(key)}"
        await self._request_if(Feature.REFRESH_LOCKS, "DELETE", path, body={"owner": owner})
