"""Uvicorn as a part of a program that owns its own signals and wants to stop at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import uvicorn

from agent_swarm_worker.local_swarm.connections import MAX_HEAD_BYTES, Connection

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from starlette.types import ASGIApp

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
