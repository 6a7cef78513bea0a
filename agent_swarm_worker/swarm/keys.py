"""The swarm's bookkeeping of credential pools (docs/api.md 14)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.swarm.generations import Feature
from agent_swarm_worker.swarm.wire import Row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.swarm.generations import Generations
    from agent_swarm_worker.swarm.http import Http


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

    def __init__(self, http: Http, generations: Generations) -> None:
        self._http, self._generations = http, generations

    async def available(self, key_type: str, total: int) -> tuple[int, ...] | None:
        """Return the indices of keys that are not limited; ``None`` if the server cannot say."""
        query = {"keyType": key_type, "totalKeys": total}
        answer = await self._generations.attempt(
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
        answer = await self._generations.attempt(
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
        await self._generations.attempt(
            Feature.KEYS, lambda: self._http.request("POST", f"/api/keys/{action}", body=body)
        )


def _uuid_or_none(value: str | None) -> str | None:
    """The server refuses the whole report if the task's id is not a UUID."""
    try:
        return str(uuid.UUID(value)) if value else None
    except ValueError:
        return None
