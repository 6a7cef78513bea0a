"""Await the first or all of several calls; wake all waiters.

A task group wraps each error into an `ExceptionGroup`; these helpers raise the error itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class First(Generic[T]):
    """The index and the result of the call that finished first."""

    index: int
    value: T


async def wait_any(*waits: Callable[[], Awaitable[T]]) -> First[T]:
    """Await several calls concurrently; return the first result and cancel the others.

    If several finish before the cancellation, the first of the arguments is returned: put a call
    whose result must not be lost before those that only limit it. An error takes precedence over
    results; of several errors the first argument's is raised, with the others in its notes.
    """
    results: dict[int, T] = {}
    errors: dict[int, Exception] = {}

    async def run(index: int, wait: Callable[[], Awaitable[T]], scope: anyio.CancelScope) -> None:
        try:
            results[index] = await wait()
        except Exception as error:
            errors[index] = error
        scope.cancel()

    await _run_all([partial(run, index, wait) for index, wait in enumerate(waits)], errors)
    index = min(results)
    return First(index, results[index])


@overload
async def wait_all(
    a: Callable[[], Awaitable[A]], b: Callable[[], Awaitable[B]], /
) -> tuple[A, B]: ...
@overload
async def wait_all(
    a: Callable[[], Awaitable[A]],
    b: Callable[[], Awaitable[B]],
    c: Callable[[], Awaitable[C]],
    d: Callable[[], Awaitable[D]],
    /,
) -> tuple[A, B, C, D]: ...
@overload
async def wait_all(
    a: Callable[[], Awaitable[A]],
    b: Callable[[], Awaitable[B]],
    c: Callable[[], Awaitable[C]],
    d: Callable[[], Awaitable[D]],
    e: Callable[[], Awaitable[E]],
    /,
) -> tuple[A, B, C, D, E]: ...
@overload
async def wait_all(*waits: Callable[[], Awaitable[T]]) -> tuple[T, ...]: ...
async def wait_all(*waits: Callable[[], Awaitable[Any]]) -> tuple[Any, ...]:
    """Await several calls concurrently; return their results in the order of the arguments.

    The first failure cancels the others. Errors are raised as by `wait_any`.
    """
    if not waits:
        return ()
    results: dict[int, Any] = {}
    errors: dict[int, Exception] = {}

    async def run(index: int, wait: Callable[[], Awaitable[Any]], scope: anyio.CancelScope) -> None:
        try:
            results[index] = await wait()
        except Exception as error:
            errors[index] = error
            scope.cancel()

    await _run_all([partial(run, index, wait) for index, wait in enumerate(waits)], errors)
    return tuple(results[index] for index in range(len(waits)))


async def _run_all(
    runs: list[Callable[[anyio.CancelScope], Coroutine[Any, Any, None]]],
    errors: dict[int, Exception],
) -> None:
    """Run the first call in this task and the others in a task group; raise the collected error."""
    try:
        async with anyio.create_task_group() as group:
            for run in runs[1:]:
                group.start_soon(run, group.cancel_scope)
            await runs[0](group.cancel_scope)
    except anyio.get_cancelled_exc_class():
        # Cancelled from outside. An error of a call replaces the cancellation, as in a plain await.
        _raise_first(errors)
        raise
    _raise_first(errors)


def _raise_first(errors: dict[int, Exception]) -> None:
    if not errors:
        return
    first, *others = (errors[index] for index in sorted(errors))
    for other in others:
        first.add_note(f"at the same time: {other!r}")
    raise first


def first_error(error: BaseException) -> BaseException:
    """Return an error itself, or the first one of a group, to be shown."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Broadcast:
    """Wakes all current waiters at each notification; later waiters wait for the next one."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next: anyio.Event | None = None

    @property
    def next(self) -> anyio.Event:
        """The event of the next notification; take it before checking a condition, to miss none."""
        if self._next is None:
            self._next = anyio.Event()
        return self._next

    def notify(self) -> None:
        """Wake all current waiters."""
        event, self._next = self._next, None
        if event is not None:
            event.set()

    async def wait(self) -> None:
        """Return at the next notification."""
        await self.next.wait()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds; it is checked now and after each notification."""
        while not condition():
            await self.next.wait()
