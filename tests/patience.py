"""Time limits for a busy machine, waiting for a condition, and a shared bytecode cache."""

from __future__ import annotations

import inspect
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio

HANG_S: Final = 30.0
"""Seconds. A busy machine needs a tenth of it; the fault that a test looks for takes twice as long,
or never ends."""

WAIT_S: Final = 60.0
"""Seconds. Limit of a wait for something that only correct code brings about."""

BYTECODE: Final = {
    "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX")
    or str(Path(tempfile.gettempdir()) / f"pycache-{os.getuid()}-{sys.implementation.cache_tag}")
}
"""For the environment of a child that runs our code: it compiles nothing again, and writes nothing
into the tree."""


async def until(look: Callable[[], Any], *, within_s: float = WAIT_S) -> Any:
    """Call `look` until its result, awaited if need be, is true; return it.

    Raises:
        TimeoutError: it was false for `within_s` seconds.
    """
    started_at_s = time.monotonic()
    with anyio.fail_after(within_s):
        while True:
            found = look()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await anyio.sleep(_pause_s(started_at_s))


def until_blocking(look: Callable[[], Any], *, within_s: float = WAIT_S) -> Any:
    """Call `look` until its result is true; return it. Fails after `within_s` seconds."""
    started_at_s = time.monotonic()
    while not (found := look()):
        assert time.monotonic() < started_at_s + within_s, "the condition did not come true in time"
        time.sleep(_pause_s(started_at_s))
    return found


def _pause_s(started_at_s: float) -> float:
    """Return when to look again: later and later, for a look takes the time of what it awaits."""
    return min(max(0.01, (time.monotonic() - started_at_s) / 6), 0.1)
