"""Adopt orphaned descendants (as child subreaper) and reap them when they exit.

An adopted process becomes a zombie that no other code waits for. A *started* process is waited for
by asyncio, and reaping it here would make asyncio report exit code 255. The kernel does not tell
the two apart, so the rules are:

* processes that `spawn` started are registered and never reaped here, and nothing is reaped while a
  start is under way and the pid not yet known;
* processes in our own session were started by other code of ours that does not use `spawn` (git,
  for example), or descend from such, and are not reaped;
* all others left our session, so they descend from a process that `spawn` started: they are reaped.

Nearly all of them have the tag of their session in their environment. Those that left even that are
found by `untagged_orphans`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import TYPE_CHECKING
from weakref import WeakSet

from agent_swarm_worker.processes import procfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.abc import Process

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.processes.procfs import ProcessInfo

_PR_SET_CHILD_SUBREAPER = 36


TAG_VARIABLE = "AGENT_SWARM_SESSION"
"""Holds the tag of a session, or of a short program, in the environment of all its processes."""
HOLDER_VARIABLE = "AGENT_SWARM_KEEPER"
"""Holds the tag in the environment of a pipe holder, which a sweep must not end."""


class _Registry:
    def __init__(self) -> None:
        self.adopts = False
        self.starting = 0
        self.direct: WeakSet[Process] = WeakSet()

    def watched_pids(self) -> set[int]:
        # Once asyncio has the exit status, the pid may be reused.
        return {child.pid for child in self.direct if child.returncode is None}


_registry = _Registry()


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Suspend reaping while a child is started and its pid is not known yet."""
    _registry.starting += 1
    try:
        yield
    finally:
        _registry.starting -= 1


def register(child: Process) -> None:
    """Register `child` as one that asyncio waits for; call it inside `starting`."""
    _registry.direct.add(child)


async def adopt_orphans(*, clock: Clock, interval_s: float = 5.0) -> None:
    """Adopt orphans and reap them every `interval_s`, until cancelled."""
    _set_subreaper(on=True)
    _registry.adopts = True
    try:
        while True:
            reap_orphans()
            await clock.sleep(interval_s)
    finally:
        _registry.adopts = False
        _set_subreaper(on=False)


def reap_orphans() -> list[int]:
    """Reap all adopted processes that have exited; return their pids. Never blocks."""
    if _registry.starting or not _some_child_has_ended():
        return []
    watched, our_pid, our_session = _registry.watched_pids(), os.getpid(), os.getsid(0)
    reaped = []
    for info in procfs.snapshot().values():
        is_ours = info.pid in watched or info.session == our_session
        if info.is_dead and info.parent == our_pid and not is_ours:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(info.pid, os.WNOHANG)
                reaped.append(info.pid)
    return reaped


def untagged_orphans() -> list[ProcessInfo]:
    """Return the living adopted processes that have no tag: an agent cleared their environment.

    Which session they belong to cannot be seen. None is found while no orphans are adopted, and by
    process 1, which also gets orphans of others.
    """
    if not _registry.adopts or _registry.starting or os.getpid() == 1:
        return []
    watched, our_session = _registry.watched_pids(), os.getsid(0)
    found = []
    for pid in procfs.children() - watched:
        info = procfs.inspect(pid)
        if info is None or info.is_dead or info.session == our_session:
            continue
        if not procfs.has_name(pid, TAG_VARIABLE, HOLDER_VARIABLE):
            found.append(info)
    return found


def _some_child_has_ended() -> bool:
    """Check with one system call instead of a scan; ``WNOWAIT`` leaves the exit status."""
    if sys.platform != "linux":
        return False
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _set_subreaper(*, on: bool) -> None:
    """Best effort: without it orphans become init's children, and the sweep finds them there."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)
