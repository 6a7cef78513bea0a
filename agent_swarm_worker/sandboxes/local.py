"""The sandbox that is none: processes and files of this machine, with the rights of the worker.

Running a command of a guest to its end, by means of what every guest can do.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.contract.guest import (
    DEFAULT_GRACE,
    NO_GRACE,
    Command,
    Completed,
    EndReport,
    GuestCapabilities,
)
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.processes import stop_tree as sweeping
from agent_swarm_worker.processes.capture_buffer import CaptureBuffer
from agent_swarm_worker.processes.escalation import Step, end_process_tree, kill_now
from agent_swarm_worker.processes.pipe_holder import Kept, Leftovers
from agent_swarm_worker.processes.pipes import drain, pump
from agent_swarm_worker.processes.spawn import Child, ProcessSpec, spawn
from agent_swarm_worker.sandboxes.local_files import LocalFiles, open_regular, write_private

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from agent_swarm_worker.contract.guest import (
        Grace,
        Guest,
        GuestFiles,
        OnStep,
        PrivateFile,
        Process,
    )
    from agent_swarm_worker.processes.stop_tree import SweepReport
    from agent_swarm_worker.sandboxes.port import GuestSpec

SCHEME = "local:"
"""How the handles of this sandbox begin."""
KILLED_WITHIN_S = 1.0
_LOGGED_COMMANDS = 5


class LocalSandbox:
    """Runs sessions as plain child processes. A guest is a tag that its processes carry.

    Args:
        clock: measures the graces.
        log: told what was swept, and what could not be.
    """

    def __init__(self, *, clock: Clock | None = None, log: Log | None = None) -> None:
        self._clock = clock or SystemClock()
        self._log = log or Log()

    @asynccontextmanager
    async def open(self, spec: GuestSpec) -> AsyncIterator[LocalGuest]:
        """Give access to this machine; see `Sandbox.open`."""
        tag = _tag(spec.handle) or spec.name
        guest = LocalGuest(tag, clock=self._clock, log=self._log)
        try:
            yield guest
        finally:
            with anyio.CancelScope(shield=True):
                await guest.close()

    async def sweep(self, handle: str) -> EndReport:
        """Kill whatever carries the tag."""
        return await _sweep(_tag(handle), self._clock, self._log)

    @asynccontextmanager
    async def collect(self, handle: str) -> AsyncIterator[Leftovers]:
        """The same, and have what it had written."""
        with Kept(_tag(handle)) as kept:
            kept.take()  # first, since whoever waits for room in a pipe is in the middle of a line
            await self.sweep(handle)
            kept.take()
            yield kept.left

    def kill(self, handle: str) -> None:
        """Kill what runs, without waiting, and what holds its pipes."""
        tag = _tag(handle)
        sweeping.end_now(tag)
        with Kept(tag):
            pass  # its end ends the keepers


class LocalGuest:
    """This machine, for one session.

    Args:
        tag: what the session's processes carry in their environment.
        clock: measures the graces.
        log: told what was swept, and what could not be.
    """

    def __init__(self, tag: str, *, clock: Clock | None = None, log: Log | None = None) -> None:
        self._tag = tag
        self._clock = clock or SystemClock()
        self._log = log or Log()
        self._children: WeakValueDictionary[int, Child] = WeakValueDictionary()
        """Those that were started here, by their `id`."""
        self._may_have_left = False
        """Something was started since the last time that everything was ended."""
        self.files: GuestFiles = LocalFiles()
        self.capabilities = GuestCapabilities(
            durable_output=CaptureBuffer.is_possible(),
            is_root=os.geteuid() == 0,
            python=sys.executable or None,
        )

    @property
    def handle(self) -> str:
        """The tag, marked as one of this sandbox."""
        return f"{SCHEME}{self._tag}"

    def path(self, host_path: PurePath) -> str:
        """A path leads to the same place inside."""
        return os.fspath(host_path)

    def environment(self, env: Mapping[str, str], needed: Iterable[str] = ()) -> dict[str, str]:
        """What a process of this machine gets (`guards.child_env`) is what it gets here."""
        del needed
        return dict(env)

    async def put(self, files: Iterable[PrivateFile]) -> None:
        """Write private files."""
        for file in files:
            await anyio.to_thread.run_sync(write_private, Path(file.path), file.content)

    async def read(self, path: PurePath | str, *, max_bytes: int) -> bytes:
        """Return the beginning of a regular file."""
        return await anyio.to_thread.run_sync(_read, os.fspath(path), max_bytes)

    async def exists(self, path: PurePath | str) -> bool:
        """True if there is something."""
        return await self.files.info(os.fspath(path)) is not None

    async def run(
        self,
        argv: tuple[str, ...],
        *,
        env: Mapping[str, str],
        cwd: PurePath,
        timeout_s: float,
        max_output: int,
        name: str = "run",
    ) -> Completed:
        """Run a command to its end."""
        command = Command(argv=argv, env=env, cwd=cwd, name=name)
        return await run_to_end(
            self, command, timeout_s=timeout_s, max_output=max_output, clock=self._clock
        )

    async def start(self, command: Command) -> Process:
        """Start a process; see `spawn`."""
        self._may_have_left = True
        child = await spawn(
            ProcessSpec(
                argv=command.argv,
                cwd=Path(command.cwd),
                env=command.env,
                tag=f"{self._tag}/{command.name}" if command.name else self._tag,
                stdin=command.stdin,
                kept=command.durable,
            )
        )
        self._children[id(child)] = child
        return child

    async def end(
        self, process: Process, grace: Grace = DEFAULT_GRACE, *, on_step: OnStep | None = None
    ) -> EndReport:
        """End a child and all it started; see `end_process_tree`."""
        child = self._children.get(id(process))
        if child is None or child is not process:
            msg = f"{process.label} was not started in this guest"
            raise ProviderError(msg)
        if grace == NO_GRACE:
            report = await kill_now(child, clock=self._clock, on_step=on_step)
        else:
            report = await end_process_tree(
                child, clock=self._clock, steps=_steps(grace), on_step=on_step
            )
        _tell(child.tag, report.swept, self._log)
        if child.tag == self._tag:
            self._may_have_left = False
        return EndReport(report.exit_code, report.steps, report.elapsed_s, *_commands(report.swept))

    async def end_all(self) -> EndReport:
        """Kill whatever carries the tag."""
        report = await _sweep(self._tag, self._clock, self._log)
        self._may_have_left = False
        return report

    async def close(self) -> None:
        """End what may still run."""
        if self._may_have_left:
            await self.end_all()


def _tag(handle: str) -> str:
    """Return the tag of a handle; what has no scheme was written by an earlier version."""
    return handle.removeprefix(SCHEME)


def _steps(grace: Grace) -> tuple[Step, ...]:
    asked = (
        Step(signal.SIGINT, grace.interrupt_s),
        Step(signal.SIGTERM, grace.terminate_s),
    )
    return (
        *(step for step in asked if step.grace_s > 0),
        Step(signal.SIGKILL, KILLED_WITHIN_S),
    )


async def _sweep(tag: str, clock: Clock, log: Log) -> EndReport:
    report = await sweeping.sweep(tag, clock=clock)
    _tell(tag, report, log)
    killed, survivors = _commands(report)
    return EndReport(killed=killed, survivors=survivors)


def _commands(report: SweepReport) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (
        tuple(process.command for process in report.killed),
        tuple(process.command for process in report.survivors),
    )


def _tell(tag: str, report: SweepReport, log: Log) -> None:
    for processes, tell, ended in (
        (report.killed, log.info, True),
        (report.survivors, log.error, False),
    ):
        if processes:
            commands = [process.command for process in processes[:_LOGGED_COMMANDS]]
            tell(Event.PROCESS_SWEPT, tag=tag, count=len(processes), ended=ended, commands=commands)


def _read(path: str, max_bytes: int) -> bytes:
    with os.fdopen(open_regular(path), "rb") as stream:
        return stream.read(max_bytes)


async def run_to_end(
    guest: Guest, command: Command, *, timeout_s: float, max_output: int, clock: Clock
) -> Completed:
    """Run `command`, which gets no input, and end all it started; see `Guest.run`.

    Args:
        guest: where.
        command: what.
        timeout_s: when it is ended.
        max_output: how many bytes of either stream are kept; the rest is read and dropped.
        clock: measures how long output is read after the exit.
    """
    stdout, stderr = bytearray(), bytearray()

    def keep(kept: bytearray, chunk: bytes) -> None:
        kept += chunk[: max_output - len(kept)]

    async with await guest.start(command) as process:
        exit_code = None
        try:
            with anyio.move_on_after(timeout_s) as patience:
                await drain(
                    process,
                    lambda: pump(process.stdout, lambda chunk: keep(stdout, chunk)),
                    lambda: pump(process.stderr, lambda chunk: keep(stderr, chunk)),
                    clock=clock,
                )
                exit_code = await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await guest.end(process, NO_GRACE)
    return Completed(bytes(stdout), bytes(stderr), exit_code, patience.cancelled_caught)
