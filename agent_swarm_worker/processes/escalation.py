"""Ending a child and everything it started: ask, insist, kill, then sweep.

Signals go to the group, as a terminal's Ctrl-C does. Of the harnesses measured, some sit behind a
launcher that ignores a signal sent to it alone, or dies of it and leaves the real one running.
SIGINT comes first because it is the one on which a harness may still write its final event.
SIGKILL leaves the commands of every harness alive, and so does a signal to the group where they
have a session of their own, hence the sweep.

The worst case is the sum of the graces, the sweep's time and the linger: 11.5 s by default. A
session first gives a harness 2 s to stop by its own means, and gives up 3 s after the escalation.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.stop_tree import (
    SWEEP_S,
    SweepReport,
    end_now,
    find,
    signal_group,
    sweep,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.processes.spawn import Child

LINGER_S = 0.5
"""How long the rest of the group may take once the child itself has followed a signal."""
_LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Step:
    """One rung: a signal, and how long the child may take to follow it."""

    signal: signal.Signals
    grace_s: float


DEFAULT_LADDER = (
    Step(signal.SIGINT, 3.0),
    Step(signal.SIGTERM, 4.0),
    Step(signal.SIGKILL, 1.0),
)
KILL_ONLY = (Step(signal.SIGKILL, 1.0),)
SWEEP_STEP = "sweep"

OnStep: TypeAlias = Callable[[str, float], None]
"""Told each step as it begins: its name, and the seconds since the first one."""


@dataclass(frozen=True, slots=True)
class KillReport:
    """How a tree ended."""

    exit_code: int | None
    """As a shell gives it; ``None`` if not even SIGKILL ended the child in time."""
    steps: tuple[str, ...]
    """The signals that were needed; none if the child had exited before."""
    elapsed_s: float
    swept: SweepReport = field(default_factory=SweepReport)


async def end_process_tree(
    child: Child,
    *,
    clock: Clock,
    steps: Sequence[Step] = DEFAULT_LADDER,
    on_step: OnStep | None = None,
) -> KillReport:
    """End `child` and all it started. A child that has exited goes straight to the sweep.

    Callers shield it. If it is cancelled or `on_step` raises all the same, everything that can be
    found is killed on the way out, without waiting. Called twice at once, the second call waits
    for the first and then finds nothing to do.
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
                # Looked up while the parents live: afterwards descent is no longer to be seen.
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
            end_now(child.tag, child, known)
            raise
        return KillReport(child.returncode, tuple(taken), clock.monotonic() - begin_s, swept)


async def kill_now(child: Child, *, clock: Clock, on_step: OnStep | None = None) -> KillReport:
    """End `child` without asking; also cuts short a ladder that is under way."""
    if child.returncode is None:
        signal_group(child, signal.SIGKILL)
    return await end_process_tree(child, clock=clock, steps=KILL_ONLY, on_step=on_step)


async def _wait_for_group(child: Child, grace_s: float, clock: Clock) -> None:
    """Wait until the child has exited, and a moment longer for its group.

    What a launcher started is still writing its final event when the launcher is gone.
    """
    if await _exits_within(child, grace_s, clock):
        gives_up_at_s = clock.monotonic() + LINGER_S
        while _has_group(child) and clock.monotonic() < gives_up_at_s:
            await clock.sleep(_LOOK_EVERY_S)


async def _exits_within(child: Child, grace_s: float, clock: Clock) -> bool:
    await wait_any(child.wait, partial(clock.sleep, grace_s))
    return child.returncode is not None


def _has_group(child: Child) -> bool:
    return any(info.group == child.pid and not info.is_dead for info in procfs.snapshot().values())
