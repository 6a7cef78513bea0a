"""Connect commands to the API, and run their coroutines; the daemon handles signals itself."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVarTuple, Unpack

import anyio

from agent_swarm_worker.aio import first_error
from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.logs import Log
from agent_swarm_worker.processes import signals

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio.abc import TaskStatus

    from agent_swarm_worker.settings import Settings

Ts = TypeVarTuple("Ts")


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[SwarmClient]:
    """Open a client of the API in the settings, without an agent id."""
    clock = SystemClock()
    async with Http(
        settings.api_url,
        health=ApiHealth(clock, Log()),
        api_key=settings.api_key,
        timeout_s=settings.api_timeout_s,
    ) as http:
        yield SwarmClient(http, ServerCapabilities(clock, Log()))


def run_until_signal(action: Callable[[Unpack[Ts]], Awaitable[int]], *args: *Ts) -> int:
    """Run `action`; return its exit code, or 128 + N if signal N cancelled it.

    Further signals are ignored, so that its cleanup is complete. A signal that was ignored at the
    start (``nohup``) stays ignored.
    """
    try:
        return anyio.run(_run, action, args)
    except BaseExceptionGroup as group:
        raise first_error(group) from None


async def _run(action: Callable[[Unpack[Ts]], Awaitable[int]], args: tuple[*Ts]) -> int:
    exit_code = 0
    scope = anyio.CancelScope()
    received: list[signal.Signals] = []
    async with anyio.create_task_group() as group:
        await group.start(_watch, scope, received)
        with scope:
            exit_code = await action(*args)
        group.cancel_scope.cancel()
    return 128 + received[0] if scope.cancelled_caught else exit_code


async def _watch(
    scope: anyio.CancelScope, received: list[signal.Signals], *, task_status: TaskStatus[None]
) -> None:
    ending = [*signals.stopping(unless_ignored=True), *signals.without_meaning()]
    with anyio.open_signal_receiver(*ending) as arriving:
        task_status.started()
        async for number in arriving:
            received.append(number)
            scope.cancel()
