"""Serve an ASGI application on a free port of the loopback interface, inside a test."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import anyio
import uvicorn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp


class _Server(uvicorn.Server):
    """uvicorn inside somebody else's event loop: it says when it is up and takes no signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve `app` while the context lasts; gives its base URL.

    On the way out open requests are cut off: a scripted hang must not hold up a test.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, log_level="critical", timeout_graceful_shutdown=0)
    server = _Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        await server.is_up.wait()
        failure = None
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        except Exception as error:  # raised below, outside of any group
            failure = error
        finally:
            server.should_exit = True
    if failure:
        raise failure
