"""Two locks per clone, for the tasks of this process and for other workers on the same disk.

*Preparing* is exclusive: only one task at a time clones or refreshes. *Using* is shared and lasts
as long as a session works in the clone; a refresh that would move files under a running session is
refused as long as anybody else uses the clone. The files carry no data and are never removed:
unlinking a locked file would let two owners in.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_RETRY_S = 0.1


class CloneLocks:
    """Hands out the locks of every clone this worker touches."""

    def __init__(self) -> None:
        self._in_process: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def preparing(self, clone: Path, *, timeout_s: float) -> AsyncIterator[None]:
        """Hold the exclusive lock for cloning or refreshing.

        Raises:
            TimeoutError: somebody else held it for `timeout_s` seconds.
            OSError: no lock file can be made.
        """
        lock = self._in_process.setdefault(str(clone), anyio.Lock())
        with _open_lock_file(clone, "lock") as fd:
            try:
                with anyio.fail_after(timeout_s):
                    await lock.acquire()
                    try:
                        # flock has no event to wait for, and a thread in it cannot be stopped
                        while not _try_lock(fd, fcntl.LOCK_EX):  # noqa: ASYNC110
                            await anyio.sleep(_RETRY_S)
                    except BaseException:
                        lock.release()
                        raise
            except TimeoutError:
                msg = f"another task has been preparing {clone} for {timeout_s:g} s"
                raise TimeoutError(msg) from None
            try:
                yield
            finally:
                lock.release()


class CloneUse:
    """One session's share of the clone, held from before the refresh to the session's end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def is_alone(self) -> bool:
        """True if nobody else uses the clone; stays true until `share`."""
        return _try_lock(self._fd, fcntl.LOCK_EX)

    def share(self) -> None:
        """Let others use the clone as well. Call it while still preparing."""
        # Does not block: others lock it exclusively only while preparing, and now we are.
        fcntl.flock(self._fd, fcntl.LOCK_SH)


@contextmanager
def using(clone: Path) -> Iterator[CloneUse]:
    """Open a session's share of the clone; it ends with the context."""
    with _open_lock_file(clone, "in-use") as fd:
        yield CloneUse(fd)


@contextmanager
def _open_lock_file(clone: Path, kind: str) -> Iterator[int]:
    # Readable is enough to lock, so workers under different users can share a clone.
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(clone.parent / f".{clone.name}.{kind}", flags, 0o644)
    except PermissionError:
        digest = hashlib.sha256(os.fsencode(clone)).hexdigest()[:16]
        fd = os.open(Path(tempfile.gettempdir()) / f".swarm-clone-{digest}.{kind}", flags, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


def _try_lock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
