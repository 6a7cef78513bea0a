"""The lock by which a directory belongs to one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import StateLocked, StateUnwritable
from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.logs import Log

_TRIES = 50
_PAUSE_S = 0.01
_IN_USE = {errno.EWOULDBLOCK, errno.EACCES}


def take_lock(path: Path, log: Log) -> int:
    """Return the descriptor that holds the lock; the kernel frees it when the process dies.

    Not quite at once: what a killed process was about to start has a copy of the descriptor until
    it has become another program. So a lock that is taken is tried for half a second.

    Raises:
        StateLocked: another process has it.
        StateUnwritable: there can be no such file.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateUnwritable(path.parent, error.strerror or str(error)) from None
    try:
        _take(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError as error:
        if error.errno in _IN_USE:
            owner = os.pread(descriptor, 32, 0).strip()
            os.close(descriptor)
            raise StateLocked(path.parent, int(owner) if owner.isdigit() else None) from None
        # Some network file systems cannot lock, and a full disk cannot take a pid: go on.
        log.warning(Event.STATE_DEGRADED, path=str(path), error=error.strerror)
    return descriptor


def _take(descriptor: int) -> None:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _IN_USE:
                raise
        else:
            return
        time.sleep(_PAUSE_S)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
