"""Waiting for one answer from several sources at once, for a limited time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import anyio

from agent_swarm_worker.errors import CodeUnusable, LoginError, LoginTimedOut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Source: TypeAlias = "Callable[[], Awaitable[str | None]]"


async def first_code(sources: Sequence[Source], *, timeout_s: float) -> str:
    """Return the first code that any source has; the others are stopped.

    Args:
        sources: each returns a code, or ``None`` once it can have none any more.
        timeout_s: for all of them together.

    Raises:
        LoginTimedOut: none had one in time.
        CodeUnusable: no source can have one any more.
        LoginError: what a source raised; it ends the wait.
    """
    found: list[str] = []
    failed: list[LoginError] = []

    async def ask(source: Source, scope: anyio.CancelScope) -> None:
        try:
            code = await source()
        except LoginError as error:
            failed.append(error)
            scope.cancel()
            return
        if code:
            found.append(code)
            scope.cancel()

    with anyio.move_on_after(timeout_s) as limit:
        async with anyio.create_task_group() as group:
            for source in sources:
                group.start_soon(ask, source, group.cancel_scope)
    if found:
        return found[0]
    if failed:
        raise failed[0]
    if limit.cancelled_caught:
        raise LoginTimedOut(f"the login was not completed within {timeout_s:g} s")
    raise CodeUnusable("nobody can answer: there is no terminal to paste into, and no browser")
