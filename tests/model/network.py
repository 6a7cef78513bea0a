"""The network of the model: delays, loses or refuses requests and answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import anyio
import httpcore2
from api_side import APPENDS, Cause, call_name

if TYPE_CHECKING:
    from api_side import Api

TRIP_S = 0.01
"""How long a request is under way, and its answer again."""


class Fault(Enum):
    """What goes wrong with one request. The value ends the sentence "the next … is …"."""

    REFUSED = "refused"
    UNAVAILABLE = "turned away by a gateway with 503"
    SWALLOWED = "swallowed: not carried out and never answered"
    BROKEN = "answered with 500 without being carried out"
    LOST = "carried out, its answer lost"
    UNANSWERED = "carried out and never answered"
    AFTERWARDS = "carried out, then answered with 500"
    HALF = "carried out, its answer cut in half"
    TWICE = "carried out twice"


AMBIGUOUS = (Fault.LOST, Fault.UNANSWERED, Fault.AFTERWARDS, Fault.HALF)
"""Carried out, and nobody can tell."""
OUTAGES = (Fault.REFUSED, Fault.UNAVAILABLE, Fault.SWALLOWED, Fault.BROKEN)
WRITES = frozenset({"logs", "cost", "events", "finish", "session", "progress", "steered"})


@dataclass
class Weather:
    """What the network does to requests, for all workers."""

    loop: asyncio.AbstractEventLoop
    outage: Fault | None = None
    """What happens to every request while the API is away."""
    coming: list[tuple[str, Fault]] = field(default_factory=list)
    """What happens to the next request of a kind."""
    every_other: Fault | None = None
    """What happens to every second write of a kind, while the line is bad."""
    writes: Counter[str] = field(default_factory=Counter)
    trouble_at_s: float = -1000.0
    """When something last went wrong, or came to an end."""
    hung_at_s: float | None = None
    """When a request last got no answer at all, so that somebody waited in vain."""

    def fault_for(self, call: str) -> Fault | None:
        found = self.outage or self._coming(call) or self._of_a_bad_line(call)
        if found is not None:
            self.trouble_at_s = self.loop.time()
        if found in (Fault.SWALLOWED, Fault.UNANSWERED):
            self.hung_at_s = self.loop.time()
        return found

    def _coming(self, call: str) -> Fault | None:
        for index, (kind, fault) in enumerate(self.coming):
            if kind in (call, "request") and not (fault is Fault.TWICE and call in APPENDS):
                del self.coming[index]
                return fault
        return None

    def _of_a_bad_line(self, call: str) -> Fault | None:
        if self.every_other is None or call not in WRITES:
            return None
        self.writes[call] += 1
        return self.every_other if self.writes[call] % 2 else None

    def clear_up(self) -> None:
        self.outage = self.every_other = None
        self.coming.clear()
        self.trouble_at_s = self.loop.time()

    @property
    def well_for_s(self) -> float:
        """How long nothing has gone wrong."""
        is_well = not (self.outage or self.coming or self.every_other)
        return self.loop.time() - self.trouble_at_s if is_well else 0.0


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that reached the server."""

    at_s: float
    call: str
    target: str
    well_for_s: float
    """How long nothing had gone wrong by then."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    kind: str
    """Its content type."""
    body: bytes


class Line(httpcore2.AsyncConnectionInterface):
    """The connection of one worker process."""

    def __init__(
        self, api: Api, conditions: Weather, *, agent_id: str, instant: Callable[[], bool]
    ) -> None:
        """Connect.

        Args:
            api: the server.
            conditions: what goes wrong.
            agent_id: whose line it is.
            instant: called whenever something could be the last thing the process did; true once
                the process is dead.
        """
        self._api, self._weather, self._agent_id = api, conditions, agent_id
        self._instant = instant
        self.sent: list[Sent] = []
        """What reached the server."""

    async def take(self) -> Line:
        return self

    def give_back(self, _: Line) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def is_connected(self) -> bool:
        return False

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        target = request.url.target.decode()
        call = call_name(request.method.decode(), target.partition("?")[0])
        await self._alive()
        fault = self._weather.fault_for(call)
        if fault is Fault.REFUSED:
            raise httpcore2.ConnectError("connection refused")
        await request.extensions["trace"]("http11.send_request_headers.started", {})
        await anyio.sleep(TRIP_S)
        if fault is Fault.SWALLOWED:
            await anyio.sleep_forever()
        if fault is Fault.UNAVAILABLE:
            return _html(503)
        if fault is Fault.BROKEN:
            return _answer(500, b'{"error": "Internal server error"}')
        await self._alive()
        for _ in range(2 if fault is Fault.TWICE else 1):
            answer = await self._carry_out(call, request, target)
        await self._alive()
        await anyio.sleep(TRIP_S)
        return await self._answered(fault, request, answer)

    async def _carry_out(self, call: str, request: httpcore2.Request, target: str) -> Answer:
        cause = Cause(call, "worker", self._agent_id)
        well_for_s = self._weather.well_for_s
        self.sent.append(Sent(self._weather.loop.time(), call, target, well_for_s))
        headers = [(name.lower(), value) for name, value in request.headers]
        content = b"".join([part async for part in request.stream])  # type: ignore[union-attr]
        status, sent, body = await self._api.carry_out(
            cause, request.method.decode(), target, headers, content
        )
        return Answer(status, dict(sent).get(b"content-type", b"").decode(), body)

    async def _answered(
        self, fault: Fault | None, request: httpcore2.Request, answer: Answer
    ) -> httpcore2.Response:
        if fault is Fault.LOST:
            raise httpcore2.ReadError("connection reset")
        if fault is Fault.UNANSWERED:
            await anyio.sleep_forever()
        if fault is Fault.AFTERWARDS:
            return _html(500)
        if fault is Fault.HALF:
            half = answer.body[: len(answer.body) // 2]
            return _answer(answer.status, half, answer.kind)
        await self._alive()
        return _answer(answer.status, answer.body, answer.kind)

    async def _alive(self) -> None:
        """Go on if the process lives; a dead one neither sends nor hears anything."""
        if self._instant():
            await anyio.sleep_forever()


def _html(status: int) -> httpcore2.Response:
    return _answer(status, b"<h1>something in between</h1>", "text/html")


def _answer(status: int, body: bytes, kind: str = "application/json") -> httpcore2.Response:
    headers = {"content-type": kind} if kind else {}
    return httpcore2.Response(status, headers=headers, content=body)
