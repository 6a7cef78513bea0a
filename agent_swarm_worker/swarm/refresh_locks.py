"""The swarm's locks that let one worker at a time refresh a shared login (docs/api.md 13.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiGarbled, ApiRefused
from agent_swarm_worker.swarm.address import segment
from agent_swarm_worker.swarm.generations import Feature
from agent_swarm_worker.swarm.wire import Row

if TYPE_CHECKING:
    from agent_swarm_worker.swarm.generations import Generations
    from agent_swarm_worker.swarm.http import Http

NO_LOCKS = ""
"""The owner of a lock on a server that has none: everybody owns it."""


class RefreshLocks:
    """The endpoints about refresh locks."""

    def __init__(self, http: Http, generations: Generations) -> None:
        self._http, self._generations = http, generations

    async def acquire(self, key: str, *, ttl_ms: int) -> str | None:
        """Take a lock, which the server frees by itself after `ttl_ms` milliseconds.

        Returns:
            The owner to release it with; ``None`` while somebody else holds it; `NO_LOCKS` if the
            server knows no such locks.
        """
        path = f"/api/oauth/refresh-locks/{segment(key)}"
        try:
            answer = await self._generations.attempt(
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
        await self._generations.attempt(
            Feature.REFRESH_LOCKS,
            lambda: self._http.request("DELETE", path, body={"owner": owner}),
        )
