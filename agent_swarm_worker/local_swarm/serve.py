"""Serve the local swarm inside a running event loop."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Self

import anyio

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.http_server import HttpServer
from agent_swarm_worker.ids import IdSource, random_ids
from agent_swarm_worker.local_swarm.access import require_safe_binding
from agent_swarm_worker.local_swarm.app import build_app
from agent_swarm_worker.local_swarm.mcp_endpoint import McpEndpoint
from agent_swarm_worker.local_swarm.store import IN_MEMORY, Store
from agent_swarm_worker.local_swarm.sweeps import SweepSettings, run_sweeps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

BACKLOG = 128


class LocalSwarm(anyio.AsyncContextManagerMixin):
    """An embedded swarm API. Serves while its ``async with`` block runs.

    Args:
        db: file of the database, or ``:memory:``.
        api_key: key that callers must present; may be empty on a loopback `host` only.
        host: address to listen on.
        port: port to listen on; 0 picks a free one, see `url`.
        clock: time of stored rows, and schedule of the sweeps.
        ids: source of all identifiers.
        sweeps: schedule and limits of the sweeps.

    Raises:
        BadSetting: the address cannot be used, or not without a key.
        StateLocked: another process has the database open.
        StateUnwritable: the database cannot be created or written.
    """

    def __init__(
        self,
        db: Path | str = IN_MEMORY,
        api_key: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        clock: Clock | None = None,
        ids: IdSource = random_ids,
        sweeps: SweepSettings | None = None,
    ) -> None:
        require_safe_binding(host, api_key)
        self._db, self._key, self._host, self._port = db, api_key, host, port
        self._clock, self._ids = clock or SystemClock(), ids
        self._sweeps = sweeps or SweepSettings()
        self.url = ""
        """Base URL; set on entering."""

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        store = Store(self._db, self._clock, self._ids)
        failure: Exception | None = None
        with closing(store), _listen(self._host, self._port) as listener:
            self.url = _url(self._host, listener.getsockname()[1])
            async with anyio.create_task_group() as tasks:
                app = build_app(store, self._key, self._sweeps, McpEndpoint(store, tasks))
                server = HttpServer(app)
                tasks.start_soon(server.serve, [listener])
                if self._sweeps.enabled:
                    tasks.start_soon(run_sweeps, store, self._sweeps)
                try:
                    yield self
                except Exception as error:
                    failure = error
                finally:
                    server.stop()
                    await server.stopped()
                    tasks.cancel_scope.cancel()
        if failure is not None:
            # Outside the task group, which would wrap the caller's error in a group.
            raise failure


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, so that clients can connect as soon as the URL is known.

    ``IPPROTO_TCP`` is explicit: with protocol 0 asyncio does not recognise accepted sockets as TCP
    and leaves Nagle's algorithm on, which delays every response by 40 ms.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise BadSetting("address", f"{host}:{port}", str(error)) from error
    return listener


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
