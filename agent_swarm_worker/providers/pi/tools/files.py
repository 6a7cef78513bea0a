"""Writing for the tools: one at a time for each file."""

from __future__ import annotations

from weakref import WeakValueDictionary

import anyio

from agent_swarm_worker.providers.pi.tools.arguments import ToolRefusal

_LOCKS: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()


def lock_of(path: str) -> anyio.Lock:
    """Return the lock of one file, the same for all sessions of this worker."""
    return _LOCKS.setdefault(path, anyio.Lock())


def to_utf8(text: str, argument: str) -> bytes:
    """Encode what the model wants written.

    Raises:
        ToolRefusal: it has half a surrogate pair in it.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        msg = f"the argument {argument} is not valid Unicode"
        raise ToolRefusal(msg) from None
