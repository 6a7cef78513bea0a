"""Importing modules so that a start is not held up by it."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uncollected() -> Iterator[None]:
    """Import in here without garbage collection, and keep it away from what was imported.

    Modules, classes and functions live as long as the process. Searching them for garbage again and
    again while they are made takes an eighth of a start; each full collection later would search
    them, too.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


async def import_beside(*names: str) -> None:
    """Import modules in a thread, while the event loop waits for something else."""
    from anyio import to_thread  # noqa: PLC0415 - `swarm-worker version` needs no event loop

    await to_thread.run_sync(_import, names)


def settle() -> None:
    """Collect the garbage that importing left, once, and keep later collections off the rest."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _import(names: tuple[str, ...]) -> None:
    with uncollected():
        for name in names:
            import_module(name)
