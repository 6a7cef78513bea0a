"""End a child and everything it started: SIGINT, SIGTERM and SIGKILL to its group, then a sweep.

Signals go to the group, as a terminal's Ctrl-C does: some harnesses run behind a launcher that
ignores a signal sent to it alone, or dies of it and leaves the real harness running. SIGINT comes
first because harnesses may still write their final event on it.

A signal to the group misses processes that lead a session of their own, and harnesses start their
commands so. The sweep searches the process table for them, see `find`. Processes are stopped
(SIGSTOP) before any is killed, and searched for until no new one is found. Killing alone is not
enough: two processes that watch each other restart the one that was killed, and a process that
forks and exits over and over has gone wherever it was last seen. New processes are therefore
checked first, within a fraction of a millisecond.

Worst case: the sum of the graces, the sweep's time and `LINGER_S`; 11.5 s with a guest's defaults.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.subreaper import TAG_VARIABLE, reap_orphans

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.processes.procfs import ProcessInfo
    from agent_swarm_worker.processes.spawn import Child

SWEEP_S = 3.0
"""Time limit of a sweep; only processes stuck in the kernel take longer."""
_PAUSE_S = 0.02
MAX_SCANS = 20
"""Scans of the whole table in one round of a sweep."""
MAX_NEWCOMER_SCANS = 100
"""Scans for new processes alone, after each scan of the table; `QUIET_SCANS` in a row without a
new process end them."""
QUIET_SCANS = 5


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
    tag: str, leader: Child | None = None, known: Iterable[tuple[int, int]] = ()
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
    leader: Child | None,
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
    tag: str, leader: Child | None = None, known: Collection[tuple[int, int]] = ()
) -> None:
    """Stop and kill the processes that `find` finds, once and without waiting."""
    kill(_stop_all(_entry(tag), leader, known))


def signal_group(leader: Child, number: signal.Signals) -> None:
    """Signal the leader's group, unless its pid was reused."""
    info = procfs.inspect(leader.pid)
    if info is None or info.start_time == leader.start_time:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, number)


async def sweep(
    tag: str,
    *,
    clock: Clock,
    leader: Child | None = None,
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


def _members(leader: Child | None, table: dict[int, ProcessInfo]) -> set[int]:
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
    entry: bytes, leader: Child | None, known: Collection[tuple[int, int]]
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


# --- escalation
LINGER_S = 0.5
"""Time for the rest of the group to exit once the child itself has exited."""


@dataclass(frozen=True, slots=True)
class Step:
    """A signal, and how long the child may take to exit on it."""

    signal: signal.Signals
    grace_s: float


KILL = Step(signal.SIGKILL, 1.0)
SWEEP_STEP = "sweep"


@dataclass(frozen=True, slots=True)
class KillReport:
    """How a process tree ended."""

    exit_code: int | None
    """As a shell gives it; ``None`` if SIGKILL did not end the child in time."""
    steps: tuple[str, ...]
    """The signals that were sent; none if the child had exited before."""
    elapsed_s: float
    swept: SweepReport = field(default_factory=SweepReport)


async def end_process_tree(
    child: Child,
    *,
    clock: Clock,
    steps: Sequence[Step],
    on_step: Callable[[str, float], None] | None = None,
) -> KillReport:
    """End `child` and all it started; for a child that has exited only the sweep is done.

    `on_step` is called as each step begins, with its name and the seconds since the first one.
    Call it shielded from cancellation. If it is cancelled or `on_step` raises nevertheless, all
    processes found are killed without waiting. A second concurrent call waits for the first.
    """
    async with child.ending:
        begin_s = clock.monotonic()
        taken: list[str] = []
        known: set[tuple[int, int]] = set()

        def report(name: str) -> None:
            if on_step is not None:
                on_step(name, clock.monotonic() - begin_s)

        try:
            for step in steps:
                if child.returncode is not None:
                    break
                # Searched while the parents live: afterwards descent cannot be seen any more.
                known.update(info.identity for info in find(child.tag, child))
                taken.append(step.signal.name)
                report(step.signal.name)
                signal_group(child, step.signal)
                await _wait_for_group(child, step.grace_s, clock)
            report(SWEEP_STEP)
            swept = await sweep(
                child.tag, clock=clock, leader=child, known=known, timeout_s=SWEEP_S
            )
        except BaseException:
            signal_group(child, signal.SIGKILL)
            stop_and_kill(child.tag, child, known)
            raise
        return KillReport(child.returncode, tuple(taken), clock.monotonic() - begin_s, swept)


async def kill_now(
    child: Child, *, clock: Clock, on_step: Callable[[str, float], None] | None = None
) -> KillReport:
    """Kill `child` and all it started at once; also cuts short an escalation under way."""
    if child.returncode is None:
        signal_group(child, signal.SIGKILL)
    return await end_process_tree(child, clock=clock, steps=(KILL,), on_step=on_step)


async def _wait_for_group(child: Child, grace_s: float, clock: Clock) -> None:
    # Longer than the child: a harness may still write its final event after its launcher's exit.
    await wait_any(child.wait, partial(clock.sleep, grace_s))
    if child.returncode is not None:
        deadline_s = clock.monotonic() + LINGER_S
        while _has_group(child) and clock.monotonic() < deadline_s:
            await clock.sleep(_PAUSE_S)


def _has_group(child: Child) -> bool:
    return any(info.group == child.pid and not info.is_dead for info in procfs.snapshot().values())
