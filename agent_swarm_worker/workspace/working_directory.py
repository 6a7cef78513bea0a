"""Choose the working directory of a session (docs/api.md 15.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingDirectory:
    """The directory of a session, and where it comes from."""

    path: Path
    source: Literal["task", "clone", "process"]
    missing: str | None = None
    """The directory that the task asks for, if it does not exist."""


def choose(task_dir: str | None, clone: Path | None, process_cwd: Path) -> WorkingDirectory:
    """Return the task's directory, else the clone, else the worker's own directory.

    `task_dir` counts only if it is an existing directory, `clone` likewise.
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
