"""Write files atomically, make private directories, and lock files."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path


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
