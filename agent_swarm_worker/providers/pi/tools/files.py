"""Writing for the tools: whole or not at all, and one at a time for each file."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio

from agent_swarm_worker.providers.pi.tools.arguments import ToolRefusal
from agent_swarm_worker.providers.pi.tools.place import refuse_special

if TYPE_CHECKING:
    from agent_swarm_worker.providers.pi.tools.place import Spot

_LOCKS: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()


def lock_of(path: str) -> anyio.Lock:
    """Return the lock of one file, the same for all sessions of this worker."""
    return _LOCKS.setdefault(path, anyio.Lock())


def replace_file(spot: Spot, content: bytes) -> bool:
    """Put `content` in the place of a file, keeping its mode; missing directories are made.

    Whoever reads meanwhile finds the old text or the new one.

    Returns:
        Whether there was a file before.

    Raises:
        ToolRefusal: there is something that is no file, or one that may not be written.
        OSError: it cannot be written.
    """
    with spot.parent(make=True) as (fd, name):
        mode = _mode_of(fd, name)
        temporary = f".{name[:100]}.{secrets.token_hex(6)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(temporary, flags, 0o666 if mode is None else 0o600, dir_fd=fd)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=fd)
            raise
        return mode is not None


def _mode_of(fd: int, name: str) -> int | None:
    try:
        mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    refuse_special(mode)
    if not os.access(name, os.W_OK, dir_fd=fd):
        msg = "the file is read-only"
        raise ToolRefusal(msg)
    return mode & 0o777


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
