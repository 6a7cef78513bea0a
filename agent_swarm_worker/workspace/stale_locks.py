"""Remove the lock files that a killed git has left in a clone.

Git creates ``index.lock`` and its kind, and removes them when it is done; one that stays fails
every later call. A lock is dead if no process has it open and no git works in the clone; without
``/proc`` the clone's own lock file, which the caller holds, has to do.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from agent_swarm_worker.processes import procfs

if TYPE_CHECKING:
    from collections.abc import Iterator

_SKIPPED = re.compile(r"[0-9a-f]{2}|pack|hooks|lfs|swarm-kept")
"""Folders with no locks and with many files, or with files that are not git's."""
_SERVICES = (b"fsmonitor--daemon", b"credential-cache--daemon")
"""Gits that stay, and hold no lock."""
_RETRY_S = 0.1


async def remove_dead_locks(git_dir: Path, *, wait_s: float) -> tuple[list[str], str]:
    """Remove dead lock files below `git_dir`, and wait for living ones.

    Returns:
        The removed files, relative to `git_dir`; and why there are others still, else empty.
    """
    holder = ""
    with anyio.move_on_after(wait_s):
        while True:
            locks = await to_thread.run_sync(_locks, git_dir)
            holder = await to_thread.run_sync(_holder, git_dir, locks) if locks else ""
            if not holder:
                removed = await to_thread.run_sync(_remove, git_dir, locks)
                return removed, ""
            await anyio.sleep(_RETRY_S)
    return [], f"{holder} is still at work in it"


def _locks(git_dir: Path) -> list[Path]:
    return sorted(_walk(git_dir))


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if not _SKIPPED.fullmatch(entry.name):
                yield from _walk(Path(entry.path))
        elif entry.name.endswith(".lock"):
            yield Path(entry.path)


def _remove(git_dir: Path, locks: list[Path]) -> list[str]:
    for lock in locks:
        lock.unlink(missing_ok=True)
    return [str(lock.relative_to(git_dir)) for lock in locks]


def _holder(git_dir: Path, locks: list[Path]) -> str:
    """Return the command of a process that may hold one of the locks; empty without one."""
    held = {os.path.realpath(lock) for lock in locks}
    worktree = os.path.realpath(git_dir.parent)
    for pid in procfs.pids() - {os.getpid()}:
        process = Path("/proc", str(pid))
        try:
            command = (process / "cmdline").read_bytes()
            is_git = os.path.basename(command.partition(b"\0")[0]).startswith(b"git")  # noqa: PTH119
            is_service = any(name in command for name in _SERVICES)
            if is_git and not is_service and _is_below(str((process / "cwd").readlink()), worktree):
                return procfs.command_line(pid)
            descriptors = list(os.scandir(process / "fd"))
        except OSError:  # it has ended, or is another user's
            continue
        if any(_target(entry.path) in held for entry in descriptors):
            return procfs.command_line(pid)
    return ""


def _target(link: str) -> str:
    try:
        return str(Path(link).readlink())
    except OSError:
        return ""


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")
