"""Import modules fast at start-up: without garbage collection, and in a thread."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Collect no garbage in the block, and exempt the imported objects, which live for ever.

    Collections during the imports take an eighth of the start-up time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


async def import_in_thread(*names: str) -> None:
    """Import modules in a thread while the event loop runs."""
    from anyio import to_thread  # noqa: PLC0415 - `swarm-worker version` needs no event loop

    await to_thread.run_sync(_import, names)


def freeze_imported() -> None:
    """Collect the garbage of the imports once, and exempt all other objects from collections."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _import(names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in sys.modules]
    if missing:
        with gc_disabled():
            for name in missing:
                import_module(name)


@contextmanager
def without(module: str) -> Iterator[None]:
    """Make the imports of the block do without an optional module, unless it is imported."""
    is_missing = module not in sys.modules
    if is_missing:
        # Documented: a name with this value cannot be imported.
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if is_missing:
            del sys.modules[module]
