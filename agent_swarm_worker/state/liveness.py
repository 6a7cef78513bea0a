"""Writes and reads the time stamp of the event loop: a process may exist and do nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_swarm_worker.state.directory import LOCK_FILE, agent_dir

if TYPE_CHECKING:
    from pathlib import Path

STAMP_FILE = "alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """State of the worker of one state directory."""

    path: Path
    pid: int | None
    """The process that owns the directory, or owned it last; ``None`` if there was none."""
    exists: bool
    age_s: float | None
    """Seconds since the last stamp; ``None`` without any."""

    def is_alive(self, max_age_s: float) -> bool:
        """True if the process exists and has stamped within `max_age_s` seconds."""
        return self.exists and self.age_s is not None and self.age_s <= max_age_s


def stamp(path: Path) -> None:
    """Set the stamp of the state directory `path` to now."""
    (path / STAMP_FILE).touch(mode=0o600)


def look(root: Path, agent_id: str | None, *, now_epoch_s: float) -> tuple[Liveness, ...]:
    """Return the state of one agent's worker, or of all workers under `root`."""
    if agent_id:
        directories = [agent_dir(root, agent_id)]
    else:
        directories = sorted(path.parent for path in root.glob(f"*/{LOCK_FILE}"))
    return tuple(_look(path, now_epoch_s) for path in directories)


def _look(path: Path, now_epoch_s: float) -> Liveness:
    pid = _owner(path / LOCK_FILE)
    try:
        # abs: with a clock that was set back, a dead worker must not look alive for hours.
        age_s: float | None = abs(now_epoch_s - (path / STAMP_FILE).stat().st_mtime)
    except OSError:
        age_s = None
    return Liveness(path=path, pid=pid, exists=pid is not None and _exists(pid), age_s=age_s)


def _owner(lock: Path) -> int | None:
    # The lock is not tried: that could make a worker that is just starting give up.
    try:
        text = lock.read_bytes()[:32].strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True  # exists, as another user's
    return True
