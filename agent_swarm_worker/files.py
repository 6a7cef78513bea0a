"""Writing files so that nobody ever sees half of one, and making folders that are nobody else's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, mode: int, sync: bool = False) -> None:
    """Write a file so that a reader finds the old text or the new one, never half of it.

    Until then it is private, under a name of its own for each writer.

    Args:
        path: the file; missing directories are made.
        content: what is to be in it.
        mode: its permissions.
        sync: whether it has to outlive a crash of the machine.

    Raises:
        OSError: it cannot be written.
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
    """Make a directory that only we can enter, and those above it that are missing likewise.

    ``Path.mkdir`` leaves those to the umask, and whoever can write to one can put another
    directory in the place of ours. What is there already stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
