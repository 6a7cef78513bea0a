"""An outbox with a real database, a real client and a clock that waits for nobody."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anyio
from fake_api import FakeClock, connected

from agent_swarm_worker.outbox.outbox import Outbox
from agent_swarm_worker.state.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@contextlib.contextmanager
def stored(path: Path, clock: FakeClock) -> Iterator[Database]:
    """The database of a state directory."""
    database = Database(path / "worker.sqlite", clock=clock)
    try:
        yield database
    finally:
        database.close()


@contextlib.asynccontextmanager
async def stopped_outbox(
    url: str, path: Path, *, clock: FakeClock | None = None, timeout_s: float = 5.0, **options: Any
) -> AsyncIterator[Outbox]:
    """An outbox that is not delivering."""
    the_clock = clock or FakeClock()
    with stored(path, the_clock) as database:
        async with connected(url, clock=the_clock, timeout_s=timeout_s) as client:
            yield Outbox(database, client, clock=the_clock, **options)


@contextlib.asynccontextmanager
async def running_outbox(url: str, path: Path, **options: Any) -> AsyncIterator[Outbox]:
    """An outbox that is delivering."""
    async with stopped_outbox(url, path, **options) as outbox, delivering(outbox):
        yield outbox


@contextlib.asynccontextmanager
async def delivering(outbox: Outbox) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(outbox.run)
        yield
        group.cancel_scope.cancel()
