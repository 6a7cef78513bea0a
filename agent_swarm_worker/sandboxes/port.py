"""The port behind which harnesses run.

A sandbox starts processes and ends them with everything they started. What it hands out does not
depend on where that is: a pid means something on this machine only, so `SandboxChild` has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.processes.drain import Receives

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    from agent_swarm_worker.processes.keeper import Leftovers
    from agent_swarm_worker.processes.kill_ladder import KillReport, OnStep
    from agent_swarm_worker.processes.spawn import ProcessSpec
    from agent_swarm_worker.processes.sweep import SweepReport


class Output(Receives, Protocol):
    """What a process writes; `processes.pipes.PipeReader` is one."""

    def hand_over(
        self, pending: int, record_begin: int, record_end: int, *, ends_inside: bool = False
    ) -> None:
        """Say that what was received is about to be recorded; see `Intake.hand_over`."""
        ...


class SandboxChild(Protocol):
    """A process that was started. Leaving it as a context manager closes its pipes, no more."""

    @property
    def label(self) -> str:
        """What a log calls it."""
        ...

    @property
    def returncode(self) -> int | None:
        """The exit code as a shell gives it, 128 + n after signal n; ``None`` while it runs."""
        ...

    @property
    def stdout(self) -> Output:
        """What it writes to standard output."""
        ...

    @property
    def stderr(self) -> Output:
        """What it writes to standard error."""
        ...

    async def wait(self) -> int:
        """Return the exit code once it has exited, whoever may still hold its pipes."""
        ...

    async def send(self, data: bytes) -> bool:
        """Write to standard input; false if the child takes no more. May block: bound it."""
        ...

    async def close_stdin(self) -> None:
        """Let it read the end of its input."""
        ...

    async def aclose(self) -> None:
        """Close our ends of the pipes."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Sandbox(Protocol):
    """Where processes run."""

    async def start(self, spec: ProcessSpec) -> SandboxChild:
        """Start a process.

        Raises:
            BinaryMissing: the program does not exist there or cannot be executed.
            ProviderError: anything else that kept it from starting.
        """
        ...

    async def end(self, child: SandboxChild, *, on_step: OnStep | None = None) -> KillReport:
        """End a child and all it started: asking first, at most 12 s.

        May be called again, also at the same time, and for a child that has exited: what it left
        behind is still swept. Call it shielded from cancellation.
        """
        ...

    async def kill(self, child: SandboxChild, *, on_step: OnStep | None = None) -> KillReport:
        """The same without asking; cuts short an `end` that is under way."""
        ...

    async def sweep(self, tag: str) -> SweepReport:
        """Kill whatever carries `tag`."""
        ...

    def collect(self, tag: str) -> AbstractAsyncContextManager[Leftovers]:
        """Kill what a worker that crashed has left behind.

        What it had said that is not recorded can be had within the block, and then never again.
        """
        ...
