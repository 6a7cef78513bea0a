"""The sandbox that is none: processes of this machine, with the rights of the worker."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.processes.keeper import Kept, Leftovers
from agent_swarm_worker.processes.kill_ladder import (
    DEFAULT_LADDER,
    KillReport,
    OnStep,
    Step,
    end_process_tree,
    kill_now,
)
from agent_swarm_worker.processes.spawn import Child, ProcessSpec, spawn
from agent_swarm_worker.processes.sweep import SweepReport, sweep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from agent_swarm_worker.sandboxes.port import SandboxChild

_LOGGED_COMMANDS = 5


class LocalSandbox:
    """Runs harnesses as plain child processes.

    Args:
        clock: measures the graces.
        ladder: what `end` does before it sweeps.
        log: told what was swept, and what could not be.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        ladder: Sequence[Step] = DEFAULT_LADDER,
        log: Log | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._ladder = ladder
        self._log = log or Log()

    async def start(self, spec: ProcessSpec) -> Child:
        """Start a process; see `spawn`."""
        return await spawn(spec)

    async def end(self, child: SandboxChild, *, on_step: OnStep | None = None) -> KillReport:
        """End a child and all it started; see `end_process_tree`."""
        ours = _ours(child)
        report = await end_process_tree(
            ours, clock=self._clock, steps=self._ladder, on_step=on_step
        )
        self._tell(ours.tag, report.swept)
        return report

    async def kill(self, child: SandboxChild, *, on_step: OnStep | None = None) -> KillReport:
        """The same without asking; see `kill_now`."""
        ours = _ours(child)
        report = await kill_now(ours, clock=self._clock, on_step=on_step)
        self._tell(ours.tag, report.swept)
        return report

    async def sweep(self, tag: str) -> SweepReport:
        """Kill whatever carries `tag`."""
        report = await sweep(tag, clock=self._clock)
        self._tell(tag, report)
        return report

    @asynccontextmanager
    async def collect(self, tag: str) -> AsyncIterator[Leftovers]:
        """The same, and have what it had written."""
        with Kept(tag) as kept:
            kept.take()  # first, since whoever waits for room in a pipe is in the middle of a line
            await self.sweep(tag)
            kept.take()
            yield kept.left

    def _tell(self, tag: str, report: SweepReport) -> None:
        for processes, tell, ended in (
            (report.killed, self._log.info, True),
            (report.survivors, self._log.error, False),
        ):
            if processes:
                commands = [process.command for process in processes[:_LOGGED_COMMANDS]]
                tell(
                    Event.PROCESS_SWEPT,
                    tag=tag,
                    count=len(processes),
                    ended=ended,
                    commands=commands,
                )


def _ours(child: SandboxChild) -> Child:
    if not isinstance(child, Child):
        msg = f"{child.label} was not started by this sandbox"
        raise TypeError(msg)
    return child
