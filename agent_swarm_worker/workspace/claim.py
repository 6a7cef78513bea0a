"""One worker at a time keeps its profile's files in a workspace.

Two agents that share the directory would each take the other's SOUL.md for an edit of its own, and
store it as theirs.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_FILE = ".swarm-profile.lock"


@contextmanager
def claimed(workspace_dir: Path) -> Iterator[bool]:
    """Claim the profile's files in a workspace; the claim lasts as long as the context.

    Yields:
        True if they are ours. False if another worker keeps its own there, or if there is no
        writing in this directory.
    """
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(workspace_dir / LOCK_FILE, flags, 0o644)
    except OSError:
        yield False
        return
    try:
        yield _is_free(fd)
    finally:
        os.close(fd)


def _is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks has had one worker so far
        return True
    return True
