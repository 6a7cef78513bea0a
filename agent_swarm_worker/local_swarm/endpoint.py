"""From an HTTP request to a function of the store and back.

A route names the function that answers it and what it needs: a body of some shape, a query of some
shape, an agent. The function is synchronous and runs inside one transaction, so each request
happens entirely or not at all, and two polls can never claim the same task.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from agent_swarm_worker.local_swarm.intake import MAX_JSON_BYTES, Unfit, body_of, json_of
from agent_swarm_worker.local_swarm.tables import AGENTS
from agent_swarm_worker.local_swarm.validation import ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.local_swarm.store import Document, Store
    from agent_swarm_worker.local_swarm.validation import Check

CLIENT_CLOSED = 499
"""Nobody is left to read the answer; the status is for the log only."""


class Refusal(Unfit):
    """A request that the store, as it is, cannot grant."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose status is not 200."""

    status: int
    body: Document


@dataclass(frozen=True, slots=True)
class Call:
    """One request, validated."""

    store: Store
    path: Mapping[str, str]
    query: Document
    body: Document
    content: bytes
    """The body as it came, for uploads."""
    headers: Mapping[str, str]
    agent_id: str
    """``X-Agent-ID``, or empty."""


Answer: TypeAlias = "Document | Reply | Response | None"
"""A document is 200, nothing is 204."""
AgentNeed: TypeAlias = Literal["no", "header", "known"]
"""Whether the caller must name itself (400), and be registered too (404)."""


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the routes table."""

    method: str
    path: str
    answer: Callable[[Call], Answer]
    agent: AgentNeed = "no"
    query: Check | None = None
    body: Check | None = None
    max_bytes: int = MAX_JSON_BYTES

    def bound_to(self, store: Store) -> StarletteRoute:
        """Return the Starlette route that answers from `store`."""

        async def endpoint(request: Request) -> Response:
            try:
                content = await body_of(request, self.max_bytes)
            except ClientDisconnect:
                return Response(status_code=CLIENT_CLOSED)
            except Unfit as unfit:
                return json_response(unfit.status, unfit.body)
            return self._respond(store, request, content)

        return StarletteRoute(self.path, endpoint, methods=[self.method])

    def _respond(self, store: Store, request: Request, content: bytes) -> Response:
        try:
            with store.transaction():
                answer = self.answer(self._call(store, request, content))
        except ValidationFailed as failure:
            return json_response(400, {"error": str(failure)})
        except Unfit as unfit:
            return json_response(unfit.status, unfit.body)
        except sqlite3.IntegrityError as error:
            # The public server lets its database's own words through (docs/api.md 6.2).
            return json_response(500, {"error": str(error)})
        return _response(answer)

    def _call(self, store: Store, request: Request, content: bytes) -> Call:
        agent_id = request.headers.get("x-agent-id", "")
        if self.agent != "no" and not agent_id:
            raise Refusal(400, "Missing X-Agent-ID header")
        call = Call(
            store=store,
            path=request.path_params,
            query=self.query.parse(dict(request.query_params)) if self.query else {},
            body=self.body.parse(json_of(content)) if self.body else {},
            content=content,
            headers=request.headers,
            agent_id=agent_id,
        )
        if self.agent == "known" and store.get(AGENTS, agent_id) is None:
            raise Refusal(404, "Agent not found")
        return call


def json_response(status: int, body: Any) -> Response:
    """Return a JSON answer."""
    return Response(orjson.dumps(body), status, media_type="application/json")


def _response(answer: Answer) -> Response:
    if answer is None:
        return Response(status_code=204)
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, Reply):
        return json_response(answer.status, answer.body)
    return json_response(200, answer)
