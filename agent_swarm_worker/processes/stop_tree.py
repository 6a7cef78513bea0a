"""Finding and killing everything that belongs to a session, wherever it went.

A signal to the group misses what made itself a session of its own, and harnesses do that to the
commands they run. So the process table is searched, by three marks that survive different ways of
leaving: the tag in the environment, the group and session of the leader, and descent.

Stopping processes that multiply while one looks at them.

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
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.spawn import TAG_VARIABLE
from agent_swarm_worker.processes.subreaper import reap_orphans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.processes.procfs import ProcessInfo

SWEEP_S = 3.0
"""How long to go on killing; more is needed only for what the kernel will not let die."""
_PAUSE_S = 0.02


class Leader(Protocol):
    """The first process of a tree."""

    pid: int
    start_time: int | None


@dataclass(frozen=True, slots=True)
class Swept:
    """A process a sweep found, for the log."""

    pid: int
    command: str


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep did."""

    killed: tuple[Swept, ...] = ()
    survivors: tuple[Swept, ...] = ()
    """Found and still there: another user's, or stuck in the kernel."""


def find(
    tag: str, leader: Leader | None = None, known: Iterable[tuple[int, int]] = ()
) -> list[ProcessInfo]:
    """Find the living processes of a session; never ourselves nor the first process.

    A process belongs to it if its environment has the tag, if it is in the leader's group or
    session, if it is one of `known` (pid and start time, from an earlier search), or if it
    descends from such a process.
    """
    return _search(procfs.snapshot(), _entry(tag), leader, known)


def _entry(tag: str) -> bytes:
    if not tag:
        msg = "an empty tag would match strangers"
        raise ValueError(msg)
    return os.fsencode(f"{TAG_VARIABLE}={tag}")


def _search(
    table: dict[int, ProcessInfo],
    entry: bytes,
    leader: Leader | None,
    known: Iterable[tuple[int, int]],
) -> list[ProcessInfo]:
    untouchable = {1, os.getpid()}
    seeds = _members(leader, table) | {pid for pid, start in known if _is_same(pid, start, table)}
    # What is older than the leader cannot have its tag, and reading environments is what costs.
    since = (leader.start_time if leader else None) or 0
    seeds.update(
        info.pid
        for info in table.values()
        if info.start_time >= since
        and info.pid not in seeds
        and procfs.has_variable(info.pid, entry)
    )
    found = _with_descendants(seeds - untouchable, table, untouchable)
    return [info for pid in found if (info := table.get(pid)) and not info.is_dead]


def kill(processes: Iterable[ProcessInfo]) -> None:
    """Send SIGKILL; what is gone already or not ours to kill is passed over."""
    for info in processes:
        send(info.pid, signal.SIGKILL)


def end_now(tag: str, leader: Leader | None = None, known: Iterable[tuple[int, int]] = ()) -> None:
    """Stop and kill what `find` finds, once and without waiting: for who has no time left."""
    entry, everyone = _entry(tag), tuple(known)
    kill(freeze(lambda table, more: _search(table, entry, leader, {*everyone, *more}), entry))


def signal_group(leader: Leader, number: signal.Signals) -> None:
    """Signal the leader's group, unless its pid has gone to somebody else."""
    info = procfs.inspect(leader.pid)
    if info is None or info.start_time == leader.start_time:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, number)


async def sweep(
    tag: str,
    *,
    clock: Clock,
    leader: Leader | None = None,
    known: Iterable[tuple[int, int]] = (),
    timeout_s: float = SWEEP_S,
) -> SweepReport:
    """Stop and kill what `find` finds, again and again, until two looks in a row find nothing.

    Two, because a process that is just being replaced by another program has no environment for a
    moment. Without ``/proc`` only the leader's group is killed, and nothing can be reported.

    Args:
        tag: whose processes.
        clock: measures `timeout_s`.
        leader: the child that the tree started from, if it is known.
        known: processes found earlier, as pid and start time, that may have lost every mark.
        timeout_s: when to give up.
    """
    begin_s, entry = clock.monotonic(), _entry(tag)
    killed: dict[tuple[int, int], Swept] = {}
    everyone = set(known)
    quiet_looks = 0
    while True:
        left = freeze(
            lambda table, known: _search(table, entry, leader, {*everyone, *known}), entry
        )
        for info in left:
            killed.setdefault(info.identity, Swept(info.pid, procfs.command_line(info.pid)))
        if leader is not None:
            signal_group(leader, signal.SIGKILL)
        kill(left)
        everyone.update(killed)
        quiet_looks = 0 if left else quiet_looks + 1
        if quiet_looks == 2 or clock.monotonic() - begin_s >= timeout_s:
            break
        await clock.sleep(_PAUSE_S)
    reap_orphans()
    survivors = tuple(killed.pop(info.identity) for info in left)
    return SweepReport(tuple(killed.values()), survivors)


def _is_same(pid: int, start_time: int | None, table: dict[int, ProcessInfo]) -> bool:
    info = table.get(pid)
    return info is not None and info.start_time == start_time


def _members(leader: Leader | None, table: dict[int, ProcessInfo]) -> set[int]:
    """The leader, its group and its session; nothing if its pid has gone to somebody else.

    A pid is not given out again while it still names a group or a session.
    """
    if leader is None or (
        leader.pid in table and not _is_same(leader.pid, leader.start_time, table)
    ):
        return set()
    return {info.pid for info in table.values() if leader.pid in (info.group, info.session)}


def _with_descendants(
    seeds: set[int], table: dict[int, ProcessInfo], untouchable: set[int]
) -> set[int]:
    children = defaultdict(list)
    for info in table.values():
        children[info.parent].append(info.pid)
    found, pending = set(seeds), list(seeds)
    while pending:
        new = set(children[pending.pop()]) - found - untouchable
        found |= new
        pending += new
    return found


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
