"""A lock between the processes of one machine, waited for in a way that can be cancelled."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent_swarm_worker.clock import Clock

RETRY_S = 0.25


@asynccontextmanager
async def file_lock(path: Path, *, clock: Clock, timeout_s: float) -> AsyncIterator[None]:
    """Hold an exclusive lock while the block runs; the kernel frees it if the process dies.

    Where no lock can be had at all (a directory that cannot be written, some network file
    systems) the block runs without: it is one of two locks.

    Raises:
        TimeoutError: somebody else held it for `timeout_s` seconds.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        give_up_at_s = clock.monotonic() + timeout_s
        while not _taken(fd):
            if clock.monotonic() >= give_up_at_s:
                raise TimeoutError
            # There is no event to wait for, and a thread inside flock cannot be stopped.
            await clock.sleep(RETRY_S)
        yield
    finally:
        os.close(fd)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in {errno.EWOULDBLOCK, errno.EACCES, errno.EINTR}
    return True
