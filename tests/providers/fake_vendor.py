"""The base of a vendor's API on loopback: requests are recorded, and any of them can fail.

The agent behind it obeys the last line of a prompt: ``answer: WORDS`` or ``work: SECONDS``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup
from loopback import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agent_swarm_worker.contract import ProviderEvent, ProviderResult, ProviderSessionConfig
from agent_swarm_worker.providers.kit.vendor_session import VendorSession

HTML = b"<html><body>Bad day</body></html>"


@dataclass
class Fault:
    """What happens to the next requests that match instead of what should."""

    call: str
    """A regular expression for the method and the path."""
    status: int = 200
    body: bytes | Mapping[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    hangs: bool = False
    half: bool = False
    """The connection is cut in the middle of the body."""
    acts: bool = False
    """It is carried out all the same."""


@dataclass
class Call:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    key: str


class FakeVendor:
    """A server with sessions; a subclass has the vendor's routes."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.url = ""
        self.open_requests: dict[str, int] = {}
        self.overlaps: list[str] = []
        """Requests that came while the same one was open."""
        self.said: list[str] = []
        """The texts that reached the agent."""
        self._numbers = itertools.count(1)
        self._stack = contextlib.AsyncExitStack()
        self.group: TaskGroup

    async def __aenter__(self) -> Self:
        app = Starlette(
            routes=[Route("/{path:path}", self._serve, methods=["GET", "POST", "DELETE"])]
        )
        self.url = await self._stack.enter_async_context(serving(app))
        self.group = await self._stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.group.cancel_scope.cancel()
        await self._stack.aclose()

    # --- a harness fixture for the conformance checks
    def answers(self, words: str) -> str:
        return f"answer: {words}"

    def works(self, seconds: float) -> str:
        return f"work: {seconds}"

    def heard(self) -> Sequence[str]:
        return self.said

    # --- for tests
    def number(self) -> int:
        return next(self._numbers)

    def fail(self, call: str, status: int = 200, **how: Any) -> None:
        self.faults.append(Fault(call, status, **how))

    def made(self, call: str) -> list[Call]:
        return [one for one in self.calls if re.search(call, f"{one.method} {one.path}")]

    async def until_made(self, call: str, times: int = 1) -> list[Call]:
        with anyio.fail_after(30):
            while len(self.made(call)) < times:
                await anyio.sleep(0.01)
        return self.made(call)

    # --- of the subclass
    async def handle(self, call: Call) -> Response:
        raise NotImplementedError

    async def _serve(self, request: Request) -> Response:
        content = await request.body()
        key = request.headers.get("authorization") or request.headers.get("x-api-key") or ""
        call = Call(
            request.method,
            request.url.path,
            dict(request.query_params),
            json.loads(content) if content else None,
            key.removeprefix("Bearer "),
        )
        self.calls.append(call)
        name = f"{call.method} {call.path}"
        if self.open_requests.get(name) and not name.endswith("/stream"):
            self.overlaps.append(name)
        self.open_requests[name] = self.open_requests.get(name, 0) + 1
        try:
            return await self._answer(name, call)
        finally:
            self.open_requests[name] -= 1

    async def _answer(self, name: str, call: Call) -> Response:
        fault = next((one for one in self.faults if re.search(one.call, name)), None)
        if fault is None:
            return await self.handle(call)
        fault.times -= 1
        if fault.times <= 0:
            self.faults.remove(fault)
        if fault.acts:
            await self.handle(call)
        if fault.hangs:
            await anyio.sleep_forever()
        body = fault.body if isinstance(fault.body, bytes) else json.dumps(fault.body).encode()
        if fault.half:
            return StreamingResponse(_half(), fault.status, {"content-length": "1000"})
        return Response(body, fault.status, fault.headers, media_type="application/json")


async def _half() -> AsyncIterator[bytes]:
    yield b'{"half": '
    msg = "cut off"
    raise ConnectionResetError(msg)


def refused(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message}, "detail": message}, status)


@dataclass
class Ran:
    """A session that has ended."""

    events: list[ProviderEvent]
    result: ProviderResult

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]


async def ran(session: VendorSession[Any]) -> Ran:
    """Run a session to its end."""
    events: list[ProviderEvent] = []
    session.on_event(events.append)
    with anyio.fail_after(60):
        return Ran(events, await session.wait_for_completion())


@contextlib.asynccontextmanager
async def running(session: VendorSession[Any]) -> AsyncIterator[list[Ran]]:
    """Run a session beside the block, which may abort it; the list then has how it ended."""
    results: list[Ran] = []

    async def run() -> None:
        results.append(await ran(session))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        yield results


def journal_of(config: ProviderSessionConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in config.log_file.read_bytes().splitlines()]


async def until_written(session: VendorSession[Any], text: str) -> None:
    """Wait until the journal of a session has a text."""
    path = session.config.log_file
    with anyio.fail_after(30):
        while not (path.exists() and text in path.read_text()):
            await anyio.sleep(0.01)


def order(prompt: str) -> tuple[str, str]:
    """Return what the last line of a prompt asks for, or the task in it."""
    verb, _, rest = prompt.strip().split("\n")[-1].partition(": ")
    if verb not in ("answer", "work"):
        found = re.findall(r'"(answer|work): (.*?)"', prompt)
        verb, rest = found[-1] if found else ("", "")
    return verb, rest
