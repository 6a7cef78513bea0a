"""A man in the middle who harms requests on demand."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskGroup

from chaos.faults import Fault, Kind
from chaos.http1 import Broken, Connection, Head, body, message, read_head

PAGE = b"<html><head><title>Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
INTERNAL_ERROR = message(500, "application/json", b'{"error": "Internal Server Error"}')
DRIPS = 20

Match: TypeAlias = "str | Callable[[str, str], bool]"
"""A regular expression for the path, or a function of method and path."""


@dataclass(slots=True)
class Seen:
    """A request that came by."""

    at: float
    """Seconds, by `time.monotonic`, when it was complete."""
    method: str
    path: str
    """With the query."""
    fault: Fault | None
    status: int | None = None
    """What the client was told; ``None`` when it was told nothing."""
    upstream: int | None = None
    """What the API had answered, if it was asked and did."""


@dataclass(slots=True)
class _Planned:
    fault: Fault
    match: Callable[[str, str], bool]
    times: int


class FaultProxy:
    """Stands in front of an API on loopback, at an address of its own that never changes.

    Use as an async context manager (asyncio only). Without faults every request passes, with its
    body as it came, streams included. An API that is down is answered for as a gateway does: 502.

    Args:
        upstream: base URL of the API, ``http://host:port``.
    """

    def __init__(self, upstream: str) -> None:
        address = urlsplit(upstream)
        assert address.hostname is not None
        assert address.port is not None
        self._host, self._port = address.hostname, address.port
        self._fault: Fault | None = None
        self._planned: list[_Planned] = []
        self._connections: set[Connection] = set()
        self._holder = socket.socket()
        self._listener: socket.socket | None = None
        self._accepting = anyio.CancelScope()
        self._tasks: TaskGroup | None = None
        self.seen: list[Seen] = []
        """Every request, oldest first."""
        self.url = ""
        """Base URL of this proxy, once entered."""

    # --- what goes wrong
    def set(self, fault: Fault | None) -> None:
        """Harm every request from now on, those of open connections too; ``None`` heals.

        Requests that hang already go on hanging: no answer to them will ever come.
        """
        was, self._fault = self._fault, fault
        refuses = fault is not None and fault.kind == Kind.REFUSE
        if refuses:
            self._stop_listening()
            for connection in self._connections:
                connection.reset()
        elif was is not None and was.kind == Kind.REFUSE:
            self._listen()

    def next(self, fault: Fault, match: Match | None = None, *, times: int = 1) -> None:
        """Harm only the next `times` requests that match; comes before what `set` says."""
        self._planned.append(_Planned(fault, _matcher(match), times))

    def heal(self) -> None:
        """Let everything pass, what was planned for single requests too."""
        self._planned.clear()
        self.set(None)

    @property
    def planned(self) -> int:
        """How many requests are still to be harmed one by one."""
        return sum(plan.times for plan in self._planned)

    # --- standing there
    async def __aenter__(self) -> Self:
        # Bound for as long as we live, so that the port stays ours while nobody listens on it.
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._holder.getsockname()[1]}"
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        assert self._tasks is not None
        self._stop_listening()
        self._tasks.cancel_scope.cancel()
        try:
            if isinstance(error, Exception):  # The caller's own is not wrapped in a group.
                await self._tasks.__aexit__(None, None, None)
                return False
            return await self._tasks.__aexit__(kind, error, trace)
        finally:
            self._holder.close()

    def _listen(self) -> None:
        assert self._tasks is not None
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self._holder.getsockname())
        listener.listen(128)
        listener.setblocking(False)
        self._listener, self._accepting = listener, anyio.CancelScope()
        self._tasks.start_soon(self._accept, listener, self._accepting)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._accepting.cancel()
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _accept(self, listener: socket.socket, scope: anyio.CancelScope) -> None:
        assert self._tasks is not None
        with scope:
            while True:
                try:
                    sock, _ = await asyncio.get_running_loop().sock_accept(listener)
                except OSError:
                    return  # closed before this began, or while somebody came
                self._tasks.start_soon(self._serve, sock)

    # --- one connection
    async def _serve(self, sock: socket.socket) -> None:
        client = await Connection.accepted(sock)
        self._connections.add(client)
        api: Connection | None = None
        try:
            while client.is_usable:
                head = await read_head(client)
                content = b"".join([part async for part in body(client, head, of_request=True)])
                exchange = _Exchange(self, client, head, content, api)
                async with _until_gone(client):
                    await exchange.run()
                api = exchange.api
                if exchange.is_last:
                    return
        except Broken:
            return
        finally:
            self._connections.discard(client)
            for connection in (client, api):
                if connection is not None:
                    connection.close()

    async def reach(self, api: Connection | None) -> Connection:
        """Return a connection to the API, the one at hand if it still stands.

        Raises:
            OSError: the API is down.
        """
        if api is not None and api.is_usable:
            return api
        return await Connection.to(self._host, self._port)

    @property
    def host(self) -> str:
        """What the API takes for its own name."""
        return f"{self._host}:{self._port}"

    def fault_for(self, method: str, path: str) -> Fault | None:
        """Decide what happens to a request."""
        for plan in self._planned:
            if plan.match(method, path):
                plan.times -= 1
                if plan.times <= 0:
                    self._planned.remove(plan)
                return plan.fault
        return self._fault


class _Exchange:
    """One request, and what becomes of it."""

    def __init__(
        self,
        proxy: FaultProxy,
        client: Connection,
        head: Head,
        content: bytes,
        api: Connection | None,
    ) -> None:
        method, path, *_ = head.start.split()
        self._proxy, self._client, self.api = proxy, client, api
        self._request = head.encode(host=proxy.host) + content
        self._seen = Seen(time.monotonic(), method, path, proxy.fault_for(method, path))
        proxy.seen.append(self._seen)
        self.is_last = head.closes
        """True if the connection ends with it."""

    async def run(self) -> None:
        """Have it answered, or not."""
        try:
            await self._run()
        except Broken:
            self.is_last = True

    async def _run(self) -> None:
        fault = self._seen.fault
        match fault.kind if fault else None:
            case Kind.REFUSE:
                self._client.reset()
            case Kind.HANG:
                await asyncio.Event().wait()
            case Kind.ANSWER_500:
                await self._tell(500, INTERNAL_ERROR)
            case Kind.HTML:
                assert fault is not None
                await self._tell(fault.status, message(fault.status, "text/html", PAGE))
            case _:
                await self._forward(fault)

    async def _forward(self, fault: Fault | None) -> None:
        kind = fault.kind if fault else None
        if kind == Kind.DELAY and fault:
            await asyncio.sleep(fault.seconds)
        try:
            if kind == Kind.DUPLICATE:
                await self._whole_answer()
            if kind in {None, Kind.DELAY, Kind.DUPLICATE}:
                await self._pass_on()
                return
            head, parts = await self._whole_answer()
        except _Down:
            await self._tell(502, message(502, "text/html", PAGE))
            return
        match kind:
            case Kind.LOSE_ANSWER:
                self._client.reset()
            case Kind.LATE_500:
                await self._tell(500, INTERNAL_ERROR)
            case Kind.HALF_BODY:
                content = b"".join(parts)
                await self._tell(head.status, head.encode() + content[: len(content) // 2])
                self.is_last = True
            case Kind.DRIP:
                assert fault is not None
                await self._drip(head, b"".join(parts), fault.seconds)

    async def _ask(self) -> Head:
        """Send the request on and return the head of the answer.

        Raises:
            _Down: the API cannot be reached, or left without a word.
        """
        try:
            self.api = await self._proxy.reach(self.api)
            await self.api.send(self._request)
            while (head := await read_head(self.api)).status < 200:
                pass
        except (OSError, Broken) as error:
            self._drop_api()
            raise _Down(str(error)) from None
        self._seen.upstream = head.status
        return head

    async def _pass_on(self) -> None:
        head = await self._ask()
        assert self.api is not None
        self._seen.status = head.status
        await self._client.send(head.encode())
        try:
            async for part in body(self.api, head, of_request=False):
                await self._client.send(part)
        except Broken:
            self._drop_api()
            self._client.reset()  # It broke off there, so it breaks off here.
            raise
        self._after(head)

    async def _whole_answer(self) -> tuple[Head, list[bytes]]:
        """Return the answer; of one that does not end, the beginning.

        Raises:
            _Down: the API did not give one.
        """
        head, parts = await self._ask(), []
        assert self.api is not None
        try:
            async for part in body(self.api, head, of_request=False):
                parts.append(part)
                if head.is_event_stream:
                    self._drop_api()
                    break
        except Broken as error:
            self._drop_api()
            raise _Down(str(error)) from None
        self._after(head)
        return head, parts

    def _after(self, head: Head) -> None:
        has_end = head.is_chunked or head.get("content-length") or head.status in {204, 304}
        if head.closes or not has_end:
            self._drop_api()
        self.is_last = self.is_last or not has_end or head.closes

    def _drop_api(self) -> None:
        if self.api is not None:
            self.api.close()
            self.api = None

    async def _drip(self, head: Head, content: bytes, seconds: float) -> None:
        self._seen.status = head.status
        data = head.encode() + content
        starts = range(0, len(data), max(1, -(-len(data) // DRIPS)))
        for start in starts:
            await asyncio.sleep(seconds / len(starts))
            await self._client.send(data[start : start + starts.step])

    async def _tell(self, status: int, data: bytes) -> None:
        self._seen.status = status
        await self._client.send(data)


class _Down(Exception):
    """The API gave no answer."""


@asynccontextmanager
async def _until_gone(client: Connection) -> AsyncIterator[None]:
    """Run the block, no longer than the client waits for it."""
    async with anyio.create_task_group() as race:

        async def watch() -> None:
            await client.reader.gone.wait()
            race.cancel_scope.cancel()

        race.start_soon(watch)
        yield
        race.cancel_scope.cancel()


def _matcher(match: Match | None) -> Callable[[str, str], bool]:
    if match is None:
        return lambda _method, _path: True
    if callable(match):
        return match
    pattern = re.compile(match)
    return lambda _method, path: pattern.search(path) is not None
