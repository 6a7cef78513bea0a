"""A client of the swarm API for commands that are no agent.

Running a command's coroutine so that a signal ends it cleanly and its error comes out by itself.

The daemon has signals of its own (`worker.loops.shutdown`); this is for the commands beside it.
"""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVarTuple, Unpack

import anyio

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.logs import Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio.abc import TaskStatus

    from agent_swarm_worker.settings import Settings


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[SwarmClient]:
    """Open a client of the API that the settings name."""
    clock = SystemClock()
    health = ApiHealth(clock, Log())
    async with Http(
        settings.api_url,
        health=health,
        api_key=settings.api_key,
        timeout_s=settings.api_timeout_s,
    ) as http:
        yield SwarmClient(http, ServerCapabilities(clock, Log()))


Ts = TypeVarTuple("Ts")


def run_until_signal(action: Callable[[Unpack[Ts]], Awaitable[int]], *args: *Ts) -> int:
    """Run `action` to its end; return its exit code, or 128 + N if signal N ended it.

    A signal cancels the action, which cleans up after itself. Further ones do not hurry it, since
    what it has not taken away by then would stay. One that was ignored at the start (``nohup``) is
    ignored still.
    """
    try:
        return anyio.run(_run, action, args)
    except BaseExceptionGroup as group:
        raise first_of(group) from None


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Several tasks may fail at once; the first failure is the one to show."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


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
    candidates = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heeded = [number for number in candidates if signal.getsignal(number) is not signal.SIG_IGN]
    with anyio.open_signal_receiver(*heeded) as signals:
        task_status.started()
        async for number in signals:
            received.append(number)
            scope.cancel()
