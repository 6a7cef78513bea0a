"""Run uvicorn inside a program that handles signals itself, with limits for connections.

Uvicorn waits without limit for the end of a request's head. Here a client must send one within
`HEAD_TIMEOUT_S`, and beyond `MAX_CONNECTIONS` the connection that has been idle longest is closed,
so that idle clients cannot starve others.
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
"""For running responses when the server stops; then connections are aborted, then tasks."""
KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections, so that they never write to one just closed."""
MAX_CONNECTIONS = 512
HEAD_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 32 * 1024
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


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
        """Wait until the server has stopped, shielded from cancellation."""
        with anyio.CancelScope(shield=True):
            await self._is_stopped.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on listening sockets."""
        try:
            # Shielded: a cancelled uvicorn would not close its connections. `stop` ends it.
            with anyio.CancelScope(shield=True):
                await super().serve(sockets)
        finally:
            self._is_stopped.set()

    async def main_loop(self) -> None:
        """Wait for `stop`; uvicorn's own loop would poll a flag ten times a second."""
        await self._stop_asked.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, wait for running responses for a moment, abort the rest."""
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
        # Handlers that do not notice the closed connection.
        for task in list(self.server_state.tasks):
            task.cancel()

    async def _wait_until_idle(self) -> None:
        state = self.server_state
        with anyio.move_on_after(CLOSING_GRACE_S):
            while state.tasks or state.connections:  # noqa: ASYNC110 - uvicorn has no event
                await anyio.sleep(0.005)


class Connection(H11Protocol):
    """One connection with a deadline for the request's head; may close an idle one for itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._last_activity_s = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        cycle = self._last_cycle
        return cycle is None or cycle.response_complete

    @property
    def _last_cycle(self) -> RequestResponseCycle | None:
        return cast("RequestResponseCycle | None", self.cycle)  # uvicorn begins with None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline, and close another connection if there are too many."""
        super().connection_made(transport)
        self._record_activity()
        if len(self.connections) > MAX_CONNECTIONS:
            self._evict_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline."""
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Cancel the deadline once the head is complete; start one for the next request."""
        super().data_received(data)
        if not self.is_idle:
            self._cancel_deadline()
        self._record_activity()

    def _record_activity(self) -> None:
        self._last_activity_s = self.loop.time()
        if self.is_idle and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._on_deadline)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self.is_idle:
            self.transport.abort()

    def _evict_idle(self) -> None:
        others = (one for one in self.connections if isinstance(one, Connection))
        idle = [one for one in others if one is not self and one.is_idle]
        if idle:
            # A connection without any request so far goes first.
            oldest = min(idle, key=lambda one: (one._last_cycle is not None, one._last_activity_s))
            oldest.transport.abort()
            self.connections.discard(oldest)
        else:
            self.transport.write(_FULL)
            self.transport.close()
