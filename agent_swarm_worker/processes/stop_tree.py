"""Find, stop and kill all processes of a session, wherever they went.

A signal to the group misses processes that lead a session of their own, and harnesses start their
commands so. So the process table is searched, see `find`.

Processes are stopped (SIGSTOP) before any is killed, and searched for until no new one is found.
Killing alone is not enough: two processes that watch each other restart the one that was killed,
and a process that forks and exits over and over has gone wherever it was last seen. New processes
are therefore checked first, within a fraction of a millisecond.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.spawn import TAG_VARIABLE
from agent_swarm_worker.processes.subreaper import reap_orphans

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.processes.procfs import ProcessInfo

SWEEP_S = 3.0
"""Time limit of a sweep; only processes stuck in the kernel take longer."""
_PAUSE_S = 0.02
MAX_SCANS = 20
"""Scans of the whole table in one round of a sweep."""
MAX_NEWCOMER_SCANS = 100
"""Scans for new processes alone, after each scan of the table; `QUIET_SCANS` in a row without a
new process end them."""
QUIET_SCANS = 5


class Leader(Protocol):
    """The first process of a tree."""

    pid: int
    start_time: int | None


@dataclass(frozen=True, slots=True)
class SweptProcess:
    """A process that a sweep found, for the log."""

    pid: int
    command: str


@dataclass(frozen=True, slots=True)
class SweepReport:
    """Result of a sweep."""

    killed: tuple[SweptProcess, ...] = ()
    survivors: tuple[SweptProcess, ...] = ()
    """Processes that could not be killed: of another user, or stuck in the kernel."""


def find(
    tag: str, leader: Leader | None = None, known: Iterable[tuple[int, int]] = ()
) -> list[ProcessInfo]:
    """Find the living processes of a session; never this process nor pid 1.

    Those have the tag, are in the leader's group or session, are `known` from an earlier search, by
    pid and start time, or descend from such a process.
    """
    return _search(procfs.snapshot(), _entry(tag), leader, known)


def _entry(tag: str) -> bytes:
    if not tag:
        raise ValueError("an empty tag would match every process")
    return os.fsencode(f"{TAG_VARIABLE}={tag}")


def _search(
    table: dict[int, ProcessInfo],
    entry: bytes,
    leader: Leader | None,
    known: Iterable[tuple[int, int]],
) -> list[ProcessInfo]:
    untouchable = {1, os.getpid()}
    seeds = _members(leader, table) | {pid for pid, start in known if _is_same(pid, start, table)}
    # Older processes than the leader cannot have its tag; reading environments is expensive.
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
    """Send SIGKILL to each; processes that are gone or not ours are skipped."""
    for info in processes:
        _send(info.pid, signal.SIGKILL)


def stop_and_kill(
    tag: str, leader: Leader | None = None, known: Collection[tuple[int, int]] = ()
) -> None:
    """Stop and kill the processes that `find` finds, once and without waiting."""
    kill(_stop_all(_entry(tag), leader, known))


def signal_group(leader: Leader, number: signal.Signals) -> None:
    """Signal the leader's group, unless its pid was reused."""
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
    """Stop and kill the processes that `find` finds, until two scans in a row find none.

    Two, because a process has no environment for a moment while it executes another program.
    Without ``/proc`` only the leader's group is killed, and the report is empty.
    """
    begin_s, entry = clock.monotonic(), _entry(tag)
    killed: dict[tuple[int, int], SweptProcess] = {}
    everyone = set(known)
    quiet_scans = 0
    while True:
        found = _stop_all(entry, leader, everyone)
        for info in found:
            killed.setdefault(info.identity, SweptProcess(info.pid, procfs.command_line(info.pid)))
        if leader is not None:
            signal_group(leader, signal.SIGKILL)
        kill(found)
        everyone.update(killed)
        quiet_scans = 0 if found else quiet_scans + 1
        if quiet_scans == 2 or clock.monotonic() - begin_s >= timeout_s:
            break
        await clock.sleep(_PAUSE_S)
    reap_orphans()
    survivors = tuple(killed.pop(info.identity) for info in found)
    return SweepReport(tuple(killed.values()), survivors)


def _is_same(pid: int, start_time: int | None, table: dict[int, ProcessInfo]) -> bool:
    info = table.get(pid)
    return info is not None and info.start_time == start_time


def _members(leader: Leader | None, table: dict[int, ProcessInfo]) -> set[int]:
    """Return the leader, its group and its session; nothing if its pid was reused."""
    # A pid is not reused while it is the id of a group or a session.
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


def _stop_all(
    entry: bytes, leader: Leader | None, known: Collection[tuple[int, int]]
) -> list[ProcessInfo]:
    """Send SIGSTOP to the processes of a session until no new one is found; return all found."""
    stopped: dict[tuple[int, int], ProcessInfo] = {}
    for _ in range(MAX_SCANS):
        table = procfs.snapshot()
        found = _search(table, entry, leader, {*known, *stopped})
        new = [info for info in found if info.identity not in stopped]
        for info in new:
            _send(info.pid, signal.SIGSTOP)
        new += _stop_newcomers(set(table), entry)
        stopped.update((info.identity, info) for info in new)
        if not new:
            break
    return list(stopped.values())


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _stop_newcomers(seen: set[int], entry: bytes) -> list[ProcessInfo]:
    """Stop processes with the tag that appeared since the table was read."""
    stopped, quiet = [], 0
    for _ in range(MAX_NEWCOMER_SCANS):
        fresh = procfs.pids() - seen
        for pid in fresh:
            if procfs.has_variable(pid, entry):
                _send(pid, signal.SIGSTOP)
                stopped.append(procfs.inspect(pid))
        seen |= fresh
        quiet = 0 if fresh else quiet + 1
        if quiet == QUIET_SCANS:
            break
    return [info for info in stopped if info is not None and not info.is_dead]
