"""Read the process table from ``/proc``; it is empty where there is none (macOS).

`oom_kills` reads how often the kernel killed a process of our control group for lack of memory.

Every result is a snapshot: the process may be gone by the time it is read. Processes that vanished
or may not be read are left out.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from agent_swarm_worker.text import one_line

_FIRST_FIELD = 3
"""Fields of ``stat`` are numbered from 1 (proc(5)); the third one follows the name."""
_COMMAND_CHARS = 120


class ProcessInfo(NamedTuple):
    """One process of the process table."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start_time: int

    @property
    def is_dead(self) -> bool:
        """True for a process that has exited and waits to be reaped."""
        return self.state in "ZXx"

    @property
    def identity(self) -> tuple[int, int]:
        """The pid and the start time, which together identify a process."""
        return self.pid, self.start_time


def inspect(pid: int) -> ProcessInfo | None:
    """Look up one process."""
    stat = _read(pid, "stat")
    # The name is in parentheses and may contain any character, parentheses too.
    fields = stat[stat.rfind(b")") + 2 :].split()
    if len(fields) <= 22 - _FIRST_FIELD:
        return None
    return ProcessInfo(
        pid,
        fields[0].decode(),
        int(fields[4 - _FIRST_FIELD]),
        int(fields[5 - _FIRST_FIELD]),
        int(fields[6 - _FIRST_FIELD]),
        int(fields[22 - _FIRST_FIELD]),
    )


def pids() -> set[int]:
    """Return the pids of all processes."""
    try:
        return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - twice as fast
    except OSError:
        return set()


def snapshot() -> dict[int, ProcessInfo]:
    """Look up every process, by pid."""
    return {pid: info for pid in pids() if (info := inspect(pid))}


def has_variable(pid: int, entry: bytes) -> bool:
    """Return whether a process was started with ``NAME=value`` or ``NAME=value/…`` (`entry`)."""
    environment = _read(pid, "environ")
    if entry not in environment:
        return False
    below = entry + b"/"
    return any(line == entry or line.startswith(below) for line in environment.split(b"\0"))


def has_name(pid: int, *names: str) -> bool:
    """Return whether a process was started with one of these variables, whatever their values."""
    starts = tuple(os.fsencode(f"{name}=") for name in names)
    return any(line.startswith(starts) for line in _read(pid, "environ").split(b"\0"))


def children() -> set[int]:
    """Return the pids of the children of this process; none where the kernel does not list them."""
    found: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(map(int, file.read_bytes().split()))
    return found


def command_line(pid: int) -> str:
    """Return the command line for a log: shortened, the program without its directories."""
    argv = _read(pid, "cmdline").rstrip(b"\0").split(b"\0")
    argv[0] = argv[0].rpartition(b"/")[2] or _read(pid, "comm").strip()
    return one_line(b" ".join(argv).decode("utf-8", "replace"), _COMMAND_CHARS)


def _read(pid: int, name: str) -> bytes:
    try:
        handle = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        content = chunk = os.read(handle, 16384)
        while len(chunk) == 16384:
            chunk = os.read(handle, 16384)
            content += chunk
    except OSError:
        return b""
    else:
        return content
    finally:
        os.close(handle)


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
