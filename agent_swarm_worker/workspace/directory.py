"""Where a session works: the task's directory, else the clone, else where the worker runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path


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
