"""From an HTTP request to a function of the store and back.

A route names the function that answers it and what it needs: a body of some shape, a query of some
shape, an agent. The function is synchronous and runs inside one transaction, so each request
happens entirely or not at all, and two polls can never claim the same task.

What a request may weigh: how many bytes, how deep, and how long it may take to come.

Nothing is read beyond its limit, so that nobody's body fills this server's memory, and what is
stored can always be shown again.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio
import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from agent_swarm_worker.local_swarm.tables import AGENTS
from agent_swarm_worker.local_swarm.validation import ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.local_swarm.store import Document, Store
    from agent_swarm_worker.local_swarm.validation import Check

MAX_JSON_BYTES = 16 * 1024 * 1024
"""Sixteen times the largest batch of log lines that a worker sends."""
MAX_DEPTH = 64
"""Levels of a JSON body; what is written out again may have some more around it."""
BODY_TIMEOUT_S = 60.0
"""For a whole body. Clients are on the same machine, or at least on the same network."""


class Unfit(Exception):
    """A request that is answered with an error status; never leaves the local swarm."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, {**more, "error": message}


async def body_of(request: Request, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """Return the body of a request.

    Raises:
        Unfit: it is too long (413), announced or real, or takes too long (408).
        ClientDisconnect: the caller has left.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_long(max_bytes)
    body = bytearray()
    try:
        with anyio.fail_after(BODY_TIMEOUT_S):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise _too_long(max_bytes)
    except TimeoutError:
        raise Unfit(408, f"Request body took longer than {BODY_TIMEOUT_S:g} s") from None
    return bytes(body)


def json_of(content: bytes, *, fault: int = 500) -> Any:
    """Parse a body; an empty one counts as ``{}``.

    Args:
        content: the body.
        fault: status for broken JSON, which the public server takes for a fault of its own.

    Raises:
        Unfit: it is nested too deeply (400), or broken.
    """
    if not content.strip():
        return {}
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if str(error).startswith("depth limit"):
            raise _too_deep() from None
        raise Unfit(fault, f"JSON Parse error: {error}") from error
    if _is_deep(value):
        raise _too_deep()
    return value


def _is_deep(value: Any) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _too_deep() -> Unfit:
    return Unfit(400, f"Validation error: nested more than {MAX_DEPTH} levels deep")


def _too_long(max_bytes: int) -> Unfit:
    return Unfit(413, f"Payload too large (max {max_bytes} bytes)")


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
