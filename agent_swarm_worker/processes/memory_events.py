"""Read how often the kernel killed a process of our control group for lack of memory."""

from __future__ import annotations

from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def oom_kills() -> int:
    """Return the count so far (`memory.events`, or `memory.oom_control` of version 1); else 0."""
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    groups = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}
    # Inside of a container the path may be that of the host, and the root of the mount is ours.
    places = [
        (ROOT / "memory", groups.get("memory"), "memory.oom_control"),
        (ROOT, groups.get(""), "memory.events"),
        (ROOT / "unified", groups.get(""), "memory.events"),
    ]
    for root, path, name in places:
        for folder in (root / path.lstrip("/"), root) if path is not None else ():
            count = _count(folder / name)
            if count is not None:
                return count
    return 0


def _count(file: Path) -> int | None:
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    counts = dict(line.split(" ", 1) for line in lines if " " in line)
    count = counts.get("oom_kill", "")
    return int(count) if count.isdecimal() else None
