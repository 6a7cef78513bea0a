"""Stopping processes that multiply while one looks at them.

Killing what a look at the process table found is enough for most trees, and not for two kinds. Of
two processes that watch each other the second starts a third when the first is killed. And one
that forks, leaves its session and exits, over and over, is gone from wherever it was last seen. So
everything is *stopped* first, which nobody notices, and looked for until nothing new turns up; what
has just come is looked at before all the rest, within a fraction of a millisecond.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, TypeAlias

from agent_swarm_worker.processes import procfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent_swarm_worker.processes.procfs import ProcessInfo

Search: TypeAlias = (
    "Callable[[dict[int, ProcessInfo], Iterable[tuple[int, int]]], list[ProcessInfo]]"
)
"""Finds the living processes of a session in a table, given those known already."""

MAX_LOOKS = 20
"""Looks at the whole table; the next round of the sweep goes on where this stopped."""
MAX_GLANCES = 100
"""Looks at the newcomers alone after each of those."""
QUIET_GLANCES = 5
"""So many glances in a row without a newcomer end them."""


def freeze(search: Search, entry: bytes) -> list[ProcessInfo]:
    """Stop the processes of a session; return all that were found.

    Args:
        search: finds them in a process table.
        entry: the tag in their environment, as ``NAME=value``.
    """
    stopped: dict[tuple[int, int], ProcessInfo] = {}
    for _ in range(MAX_LOOKS):
        table = procfs.snapshot()
        found = search(table, stopped)
        new = [info for info in found if info.identity not in stopped]
        for info in new:
            send(info.pid, signal.SIGSTOP)
        new += _stop_newcomers(set(table), entry)
        stopped.update((info.identity, info) for info in new)
        if not new:
            break
    return list(stopped.values())


def send(pid: int, number: signal.Signals) -> None:
    """Signal one process; one that is gone already or not ours is passed over."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _stop_newcomers(seen: set[int], entry: bytes) -> list[ProcessInfo]:
    """Stop what has come with the tag since a table was read, while it is still there."""
    stopped, quiet = [], 0
    for _ in range(MAX_GLANCES):
        fresh = procfs.pids() - seen
        for pid in fresh:
            if procfs.has_variable(pid, entry):
                send(pid, signal.SIGSTOP)
                stopped.append(procfs.inspect(pid))
        seen |= fresh
        quiet = 0 if fresh else quiet + 1
        if quiet == QUIET_GLANCES:
            break
    return [info for info in stopped if info is not None and not info.is_dead]
