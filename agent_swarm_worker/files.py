"""Write files atomically, make private directories, and lock files."""

from __future__ import annotations

import fcntl
import os
import select
import tempfile
import time
from pathlib import Path

from agent_swarm_worker.errors import UnreadableFile

MAX_READ_BYTES = 16 * 1024 * 1024
MAX_READ_S = 5.0


def read_whole(path: Path) -> bytes:
    """Read a file that a person named; a pipe too, if it ends soon.

    Raises:
        UnreadableFile: it cannot be read, or has no end.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb", buffering=0):
            return _read_to_end(path, fd)
    except OSError as error:
        raise UnreadableFile(path, error.strerror or str(error)) from error


def _read_to_end(path: Path, fd: int) -> bytes:
    content, give_up_s = bytearray(), time.monotonic() + MAX_READ_S
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(content) <= MAX_READ_BYTES:
        left_s = give_up_s - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise UnreadableFile(path, f"its end did not come within {MAX_READ_S:g} s")
        piece = os.read(fd, 1024 * 1024)
        if not piece:
            return bytes(content)
        content += piece
    raise UnreadableFile(path, f"it is longer than {MAX_READ_BYTES:,} bytes, or has no end")


def write_atomically(path: Path, content: bytes, *, mode: int, sync: bool = False) -> None:
    """Replace a file atomically, by way of a private temporary file.

    Args:
        path: the file; missing directories are made.
        content: its new content.
        mode: its permissions.
        sync: call fsync, so that it survives a crash of the machine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_private_dir(path: Path) -> None:
    """Make a directory with mode 0700, and missing parents likewise.

    ``Path.mkdir`` applies the umask to the parents, and a user who can write to one can replace the
    directory.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def try_lock(fd: int, how: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file without waiting; false if another process holds the lock.

    The kernel releases it when the process dies. A file system without locks is an `OSError`.
    """
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
