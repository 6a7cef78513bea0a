"""A proxy that applies faults to requests."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskGroup

from chaos.exchange import Exchange, Seen
from chaos.faults import Fault, Kind
from chaos.http1 import Broken, Connection, body, read_head

Match: TypeAlias = "str | Callable[[str, str], bool]"
"""A regular expression for the path, or a function of method and path."""


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
        exchange: Exchange | None = None
        try:
            while client.is_usable:
                head = await read_head(client)
                content = b"".join([part async for part in body(client, head, of_request=True)])
                api = exchange.api if exchange else None
                exchange = Exchange(self, client, head, content, api)
                async with _until_gone(client):
                    await exchange.run()
                if exchange.is_last:
                    return
        except Broken:
            return
        finally:
            self._connections.discard(client)
            client.close()
            if exchange is not None and exchange.api is not None:
                exchange.api.close()

    async def reach(self, api: Connection | None) -> Connection:
        """Return a connection to the API, the one at hand if it still stands.

        Raises:
            OSError: the API is down.
        """
        if api is not None:
            if api.is_usable:
                return api
            api.close()
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
