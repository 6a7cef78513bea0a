"""One worker at a time keeps its profile's files in a workspace.

Two agents that share the directory would each take the other's SOUL.md for an edit of its own, and
store it as theirs.

Where a session works: the task's directory, else the clone, else where the worker runs.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingDirectory:
    """The directory a session gets, and why."""

    path: Path
    source: Literal["task", "clone", "process"]
    missing: str | None = None
    """The directory the task asked for, if it does not exist; the prompt says so."""


def choose(task_dir: str | None, clone: Path | None, process_cwd: Path) -> WorkingDirectory:
    """Return the working directory (docs/api.md 15.9).

    Args:
        task_dir: what the task asks for; counts only if it is an existing directory.
        clone: the repository's clone, if there is one.
        process_cwd: what is left.
    """
    if task_dir and _is_directory(process_cwd / task_dir):
        return WorkingDirectory(path=process_cwd / task_dir, source="task")
    missing = task_dir or None
    if clone is not None and clone.is_dir():
        return WorkingDirectory(path=clone, source="clone", missing=missing)
    return WorkingDirectory(path=process_cwd, source="process", missing=missing)


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a NUL byte, a name too long
        return False
