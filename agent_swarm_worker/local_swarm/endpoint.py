"""Parse and validate an HTTP request, call its handler in a transaction, build the response.

A `Route` declares its handler and what that needs: a body or query of some shape, an agent. The
handler is synchronous and runs inside one transaction, so that a request takes effect entirely or
not at all, and two polls cannot claim the same task.

Bodies are limited in bytes, depth and time before they are parsed: they cannot fill this server's
memory, and what is stored can be encoded as JSON again.
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
"""16 times the largest batch of log lines that a worker sends."""
MAX_DEPTH = 64
"""Levels of a JSON body; a response may nest it a few levels deeper."""
BODY_TIMEOUT_S = 60.0
"""For a whole body. Clients are on the same machine or network."""
CLIENT_CLOSED = 499
"""The client has disconnected; the status is for the log only."""


class Refusal(Exception):
    """A request that is answered with an error status. Caught by `Route` and by tools."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def response(self) -> Response:
        """The error as an HTTP response."""
        return json_response(self.status, {"error": str(self)})


def found(row: Document | None, name: str) -> Document:
    """Return `row`, or refuse with 404 ``<name> not found``."""
    if row is None:
        raise Refusal(404, f"{name} not found")
    return row


async def read_body(request: Request, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """Return the body of a request.

    Raises:
        Refusal: its announced or real length exceeds `max_bytes` (413), or it takes too long (408).
        ClientDisconnect: the client has disconnected.
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
        raise Refusal(408, f"Request body took longer than {BODY_TIMEOUT_S:g} s") from None
    return bytes(body)


def parse_json(content: bytes, *, fault: int = 500) -> Any:
    """Parse a body; an empty one is ``{}``.

    Args:
        content: the body.
        fault: status for invalid JSON; the public server reports it as a server error.

    Raises:
        Refusal: it is nested too deeply (400), or not JSON (`fault`).
    """
    if not content.strip():
        return {}
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if str(error).startswith("depth limit"):
            raise _too_deep() from None
        raise Refusal(fault, f"JSON Parse error: {error}") from error
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


def _too_deep() -> Refusal:
    return Refusal(400, f"Validation error: nested more than {MAX_DEPTH} levels deep")


def _too_long(max_bytes: int) -> Refusal:
    return Refusal(413, f"Payload too large (max {max_bytes} bytes)")


@dataclass(frozen=True, slots=True)
class Reply:
    """A JSON response whose status is not 200."""

    status: int
    body: Document


@dataclass(frozen=True, slots=True)
class Call:
    """One validated request."""

    store: Store
    path: Mapping[str, str]
    query: Document
    body: Document
    content: bytes
    """The raw body, for uploads."""
    headers: Mapping[str, str]
    agent_id: str
    """``X-Agent-ID``, or empty."""


HandlerResult: TypeAlias = "Document | Reply | Response | None"
"""A document is sent with status 200, ``None`` as 204."""
AgentNeed: TypeAlias = Literal["no", "header", "known"]
"""Whether ``X-Agent-ID`` is required (else 400), and must be registered (else 404)."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path with its handler."""

    method: str
    path: str
    handler: Callable[[Call], HandlerResult]
    agent: AgentNeed = "no"
    query: Check | None = None
    body: Check | None = None
    max_bytes: int = MAX_JSON_BYTES

    def bound_to(self, store: Store) -> StarletteRoute:
        """Return the Starlette route that serves `store`."""

        async def endpoint(request: Request) -> Response:
            try:
                content = await read_body(request, self.max_bytes)
            except ClientDisconnect:
                return Response(status_code=CLIENT_CLOSED)
            except Refusal as refusal:
                return refusal.response
            return self._respond(store, request, content)

        return StarletteRoute(self.path, endpoint, methods=[self.method])

    def _respond(self, store: Store, request: Request, content: bytes) -> Response:
        try:
            with store.transaction():
                result = self.handler(self._call(store, request, content))
        except ValidationFailed as failure:
            return json_response(400, {"error": str(failure)})
        except Refusal as refusal:
            return refusal.response
        except sqlite3.IntegrityError as error:
            # The public server returns its database's message too (docs/api.md 6.2).
            return json_response(500, {"error": str(error)})
        return _response(result)

    def _call(self, store: Store, request: Request, content: bytes) -> Call:
        agent_id = request.headers.get("x-agent-id", "")
        if self.agent != "no" and not agent_id:
            raise Refusal(400, "Missing X-Agent-ID header")
        call = Call(
            store=store,
            path=request.path_params,
            query=self.query.parse(dict(request.query_params)) if self.query else {},
            body=self.body.parse(parse_json(content)) if self.body else {},
            content=content,
            headers=request.headers,
            agent_id=agent_id,
        )
        if self.agent == "known":
            found(store.get(AGENTS, agent_id), "Agent")
        return call


def json_response(status: int, body: Any) -> Response:
    """Return a JSON response."""
    return Response(orjson.dumps(body), status, media_type="application/json")


def _response(result: HandlerResult) -> Response:
    if result is None:
        return Response(status_code=204)
    if isinstance(result, Response):
        return result
    if isinstance(result, Reply):
        return json_response(result.status, result.body)
    return json_response(200, result)
