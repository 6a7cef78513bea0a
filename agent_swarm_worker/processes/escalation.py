"""End a child and everything it started: SIGINT, SIGTERM and SIGKILL to its group, then a sweep.

Signals go to the group, as a terminal's Ctrl-C does: some harnesses run behind a launcher that
ignores a signal sent to it alone, or dies of it and leaves the real harness running. SIGINT comes
first because harnesses may still write their final event on it. Commands that a harness started in
a session of their own survive a signal to the group; the sweep finds those.

Worst case: the sum of the graces, the sweep's time and `LINGER_S`; 11.5 s with a guest's defaults.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.stop_tree import (
    SWEEP_S,
    SweepReport,
    find,
    signal_group,
    stop_and_kill,
    sweep,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.processes.spawn import Child

LINGER_S = 0.5
"""Time for the rest of the group to exit once the child itself has exited."""
_POLL_S = 0.02


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
            await clock.sleep(_POLL_S)


def _has_group(child: Child) -> bool:
    return any(info.group == child.pid and not info.is_dead for info in procfs.snapshot().values())
