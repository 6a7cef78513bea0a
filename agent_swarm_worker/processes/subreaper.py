"""Orphans: processes whose parent died come to us instead of to init, and we reap them.

A process we adopted leaves a zombie that nobody else will ever wait for. A process we *started* is
waited for by asyncio, and taking its exit status away would make it look as if it had ended with
255. Nothing in the kernel tells the two apart, so the rules are:

* what `spawn` started is registered and never touched, and nothing is reaped while a start is
  under way and the pid not yet known;
* what is in our own session was started by other code of ours (git, for example: whoever starts
  something without `spawn` leaves it in our session), or descends from that, and is not touched;
* what remains left our session, and only something `spawn` started can have led it out.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from agent_swarm_worker.processes import procfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.clock import Clock

_PR_SET_CHILD_SUBREAPER = 36


class DirectChild(Protocol):
    """What `spawn` started: asyncio waits for it, so its exit status is not ours to take."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def returncode(self) -> int | None:
        """``None`` until asyncio has its exit status; afterwards the pid means nothing."""
        ...


class _Registry:
    def __init__(self) -> None:
        self.starting = 0
        self.direct: WeakSet[DirectChild] = WeakSet()

    def watched_pids(self) -> set[int]:
        return {child.pid for child in self.direct if child.returncode is None}


_registry = _Registry()
"""One for the process, like the process table it describes."""


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Hold off reaping while a child has a pid that nobody knows yet."""
    _registry.starting += 1
    try:
        yield
    finally:
        _registry.starting -= 1


def register(child: DirectChild) -> None:
    """Note that asyncio waits for `child`; to be called inside `starting`."""
    _registry.direct.add(child)


async def adopt_orphans(*, clock: Clock, interval_s: float = 5.0) -> None:
    """Adopt orphans and reap them every `interval_s`, until cancelled.

    Belongs in the worker's task group. Also does the reaping for a worker that is the first
    process of a container and gets the orphans anyway.
    """
    _set_subreaper(on=True)
    try:
        while True:
            reap_orphans()
            await clock.sleep(interval_s)
    finally:
        _set_subreaper(on=False)


def reap_orphans() -> list[int]:
    """Reap every adopted process that has ended; return their pids. Never blocks."""
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


def _some_child_has_ended() -> bool:
    """One system call instead of a scan; ``WNOWAIT`` looks without taking."""
    if sys.platform != "linux":
        return False
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _set_subreaper(*, on: bool) -> None:
    """Best effort: without it orphans go to init, and the sweep finds them there."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)
