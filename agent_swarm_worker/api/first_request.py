"""Requests the configuration rows while most of the worker is still imported.

It imports little: none of the wire's types, which `api.configuration` needs to read the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from agent_swarm_worker.errors import ApiError

if TYPE_CHECKING:
    from agent_swarm_worker.api.http import Http


async def request_configuration(http: Http, agent_id: str | None) -> dict[str, Any]:
    """Return the answer with the rows for an agent, or for all; secrets in clear (docs/api.md 13).

    Raises:
        ApiError: the request failed.
    """
    query = {"agentId": agent_id, "includeSecrets": "true"}
    return await http.call("GET", "/api/config/resolved", params=query)


class FirstRequest:
    """One request for the configuration rows, whose answer is fetched later."""

    def __init__(self, http: Http, agent_id: str) -> None:
        self._http, self._agent_id = http, agent_id
        self._is_over = anyio.Event()
        self._answer: dict[str, Any] | ApiError = {}

    async def run(self) -> None:
        """Make the request."""
        try:
            self._answer = await request_configuration(self._http, self._agent_id)
        except ApiError as error:
            self._answer = error
        self._is_over.set()

    async def answer(self) -> dict[str, Any]:
        """Wait for the answer.

        Raises:
            ApiError: the request failed.
        """
        await self._is_over.wait()
        if isinstance(self._answer, ApiError):
            raise self._answer
        return self._answer
