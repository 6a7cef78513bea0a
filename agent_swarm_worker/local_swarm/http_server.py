"""Uvicorn as a part of a program that owns its own signals and wants to stop at once.

How many may be connected, and for how long without saying anything.

Uvicorn waits forever for the end of a request's head. Here whoever connects must have sent one
within `HEAD_TIMEOUT_S`, and when there are too many connections the idlest one makes room, so that
callers who hold many open take nothing from those who have something to ask.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Iterator

    from starlette.types import ASGIApp
    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

CLOSING_GRACE_S = 0.3
"""For answers on their way when the server stops; then connections are cut, then tasks."""
KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections, so that they never write to one just closed."""


class HttpServer(uvicorn.Server):
    """Serves until `stop` is called; then `stopped` returns within half a second."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        super().__init__(config)
        self._stop_asked, self._is_stopped = anyio.Event(), anyio.Event()

    def stop(self) -> None:
        """Ask the server to stop."""
        self._stop_asked.set()

    async def stopped(self) -> None:
        """Wait for it, even while being cancelled."""
        with anyio.CancelScope(shield=True):
            await self._is_stopped.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program."""
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on listening sockets."""
        try:
            # Stopping is asked for, not done by cancelling: uvicorn has to close its connections.
            with anyio.CancelScope(shield=True):
                await super().serve(sockets)
        finally:
            self._is_stopped.set()

    async def main_loop(self) -> None:
        """Wait. Uvicorn would wake up ten times a second to look at a flag."""
        await self._stop_asked.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let running answers finish for a moment, cut the rest."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._wait_until_idle()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._wait_until_idle()
        # What does not even notice that its caller has gone.
        for task in list(self.server_state.tasks):
            task.cancel()

    async def _wait_until_idle(self) -> None:
        state = self.server_state
        with anyio.move_on_after(CLOSING_GRACE_S):
            while state.tasks or state.connections:  # noqa: ASYNC110 - uvicorn has no event
                await anyio.sleep(0.005)


MAX_CONNECTIONS = 512
HEAD_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 32 * 1024
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(H11Protocol):
    """One connection, with an eye on the clock and on its neighbours."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._heard_at_s = 0.0

    @property
    def is_idle(self) -> bool:
        """True unless a request of it is being answered."""
        cycle = self._last_cycle
        return cycle is None or cycle.response_complete

    @property
    def _last_cycle(self) -> RequestResponseCycle | None:
        return cast("RequestResponseCycle | None", self.cycle)  # uvicorn begins with None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it in, perhaps in another's place."""
        super().connection_made(transport)
        self._note_time()
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._unset_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; half a head sets the clock, a whole one stops it."""
        super().data_received(data)
        if not self.is_idle:
            self._unset_deadline()
        self._note_time()

    def _note_time(self) -> None:
        self._heard_at_s = self.loop.time()
        if self.is_idle and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.is_idle:
            self.transport.abort()

    def _make_room(self) -> None:
        others = (one for one in self.connections if isinstance(one, Connection))
        idle = [one for one in others if one is not self and one.is_idle]
        if idle:
            # Whoever has never asked for anything goes before those who have.
            least = min(idle, key=lambda one: (one._last_cycle is not None, one._heard_at_s))
            least.transport.abort()
            self.connections.discard(least)
        else:
            self.transport.write(_FULL)
            self.transport.close()
