"""The server's configuration rows (docs/api.md 13).

The swarm's bookkeeping of credential pools (docs/api.md 14).

The swarm's locks that let one worker at a time refresh a shared login (docs/api.md 13.4).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.api.address import segment
from agent_swarm_worker.api.capabilities import Feature
from agent_swarm_worker.api.wire import ConfigRow, Row
from agent_swarm_worker.errors import ApiGarbled, ApiRefused, RouteMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.api.capabilities import ServerCapabilities
    from agent_swarm_worker.api.http import Http


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolKey:
    """One key of a pool, named without naming it."""

    key_type: str
    """The environment variable."""
    suffix: str
    """The last five characters."""
    index: int

    def to_wire(self) -> dict[str, Any]:
        """Return the key as the server wants it."""
        return {"keyType": self.key_type, "keySuffix": self.suffix, "keyIndex": self.index}


class Keys:
    """The endpoints about credential pools."""

    def __init__(self, http: Http, capabilities: ServerCapabilities) -> None:
        self._http, self._capabilities = http, capabilities

    async def available(self, key_type: str, total: int) -> tuple[int, ...] | None:
        """Return the indices of keys that are not limited; ``None`` if the server cannot say."""
        query = {"keyType": key_type, "totalKeys": total}
        answer = await self._capabilities.attempt(
            Feature.KEYS, lambda: self._http.call("GET", "/api/keys/available", params=query)
        )
        if answer is None:
            return None
        return tuple(
            index
            for index in Row(answer).array("availableIndices")
            if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < total
        )

    async def limited(self, key_type: str) -> dict[str, str] | None:
        """Return until when keys are limited, by their suffix; ``None`` if the server cannot say.

        A key that is not limited is not in it.
        """
        query = {"keyType": key_type}
        answer = await self._capabilities.attempt(
            Feature.KEYS, lambda: self._http.call("GET", "/api/keys/status", params=query)
        )
        if answer is None:
            return None
        rows = (Row(row) for row in Row(answer).array("keys"))
        return {
            row.text("keySuffix"): row.text("rateLimitedUntil")
            for row in rows
            if row.text("status") == "rate_limited"
        }

    async def report_usage(self, key: PoolKey, *, task_id: str | None = None) -> None:
        """Count one use of a key, and note it with the task."""
        await self._post("report-usage", {**key.to_wire(), "taskId": _uuid_or_none(task_id)})

    async def report_rate_limit(self, key: PoolKey, *, until: str) -> None:
        """Say until when a key is limited: UTC with a final ``Z``."""
        await self._post("report-rate-limit", {**key.to_wire(), "rateLimitedUntil": until})

    async def report_windows(self, key: PoolKey, windows: Mapping[str, Mapping[str, Any]]) -> None:
        """Report how full a key's limits are; the body comes from `wire.windows_body`."""
        await self._post("report-rate-limit-windows", {**key.to_wire(), "windows": windows})

    async def clear(self, key: PoolKey) -> None:
        """Say that a key works again."""
        body = {"keyType": key.key_type, "keySuffix": key.suffix}
        await self._post("clear-rate-limit", body)

    async def _post(self, action: str, body: Mapping[str, Any]) -> None:
        await self._capabilities.attempt(
            Feature.KEYS, lambda: self._http.request("POST", f"/api/keys/{action}", body=body)
        )


def _uuid_or_none(value: str | None) -> str | None:
    """The server refuses the whole report if the task's id is not a UUID."""
    try:
        return str(uuid.UUID(value)) if value else None
    except ValueError:
        return None


NO_LOCKS = ""
"""The owner of a lock on a server that has none: everybody owns it."""


class RefreshLocks:
    """The endpoints about refresh locks."""

    def __init__(self, http: Http, capabilities: ServerCapabilities) -> None:
        self._http, self._capabilities = http, capabilities

    async def acquire(self, key: str, *, ttl_ms: int) -> str | None:
        """Take a lock, which the server frees by itself after `ttl_ms` milliseconds.

        Returns:
            The owner to release it with; ``None`` while somebody else holds it; `NO_LOCKS` if the
            server knows no such locks.
        """
        path = f"/api/oauth/refresh-locks/{segment(key)}"
        try:
            answer = await self._capabilities.attempt(
                Feature.REFRESH_LOCKS,
                lambda: self._http.call("POST", path, body={"ttlMs": ttl_ms}),
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
        """Give a lock back; one that has expired is nobody's loss."""
        if owner == NO_LOCKS:
            return
        path = f"/api/oauth/refresh-locks/{segment(key)}"
        await self._capabilities.attempt(
            Feature.REFRESH_LOCKS,
            lambda: self._http.request("DELETE", path, body={"owner": owner}),
        )
