"""Reading a child's output to its end, when the end may never come.

A pipe ends when its *last* holder closes it, and a background process that the harness left behind
holds it for ever. So the exit of the child counts, not the end of its pipes: from then on the
readers get a little time for what is still in the pipe.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from agent_swarm_worker.aio import wait_all, wait_any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from agent_swarm_worker.clock import Clock

DRAIN_S = 2.0
"""How long readers go on after the exit of the child."""


class Exits(Protocol):
    """Anything whose end can be waited for."""

    async def wait(self) -> int | None:
        """Return once it has ended, with its exit code if that is known."""
        ...


class Receives(Protocol):
    """Anything bytes can be read from, such as an anyio stream."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes; raises ``EndOfStream`` or ``ClosedResourceError``."""
        ...


async def pump(stream: Receives, on_chunk: Callable[[bytes], None]) -> None:
    """Hand everything `stream` has to `on_chunk`, until it ends or is closed.

    `on_chunk` is a plain function so that there is no place between reading and handing over
    where a cancellation could lose bytes.
    """
    while True:
        try:
            chunk = await stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            return
        on_chunk(chunk)


async def drain(
    child: Exits,
    *readers: Callable[[], Coroutine[Any, Any, object]],
    clock: Clock,
    drain_s: float = DRAIN_S,
) -> bool:
    """Run the readers side by side until each is done, or `drain_s` after the child's exit.

    Returns:
        Whether each came to its end. If not, some other process holds a pipe open.
    """

    async def exited_long_ago() -> None:
        await child.wait()
        await clock.sleep(drain_s)

    first = await wait_any(partial(wait_all, *readers), exited_long_ago)
    return first.index == 0
