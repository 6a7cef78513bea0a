"""Run sessions on this machine, as child processes with the rights of the worker."""

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
from agent_swarm_worker.processes import stop_tree, subreaper
from agent_swarm_worker.processes.capture_buffer import CaptureBuffer
from agent_swarm_worker.processes.pipe_holder import PipeHolders
from agent_swarm_worker.processes.pipes import drain, pump
from agent_swarm_worker.processes.spawn import Child, ProcessSpec, spawn
from agent_swarm_worker.sandboxes.local_files import LOCAL_FILES, write_private

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from agent_swarm_worker.contract.guest import (
        Grace,
        Guest,
        OnStep,
        PrivateFile,
        Process,
    )
    from agent_swarm_worker.sandboxes.port import GuestSpec

SCHEME = "local:"
"""Prefix of this sandbox's handles."""
_LOGGED_COMMANDS = 5


class LocalSandbox:
    """Runs sessions as plain child processes; a guest is a tag in their environment."""

    def __init__(self, *, clock: Clock | None = None, log: Log | None = None) -> None:
        self._clock = clock or SystemClock()
        self._log = log or Log()
        self._open_guests = 0

    @asynccontextmanager
    async def open(self, spec: GuestSpec) -> AsyncIterator[LocalGuest]:
        """Open a guest on this machine."""
        tag = _tag(spec.handle) or spec.name
        guest = LocalGuest(tag, clock=self._clock, log=self._log)
        self._open_guests += 1
        try:
            yield guest
        finally:
            self._open_guests -= 1
            with anyio.CancelScope(shield=True):
                await guest.close()
                if not self._open_guests:
                    await self._end_untagged(tag)

    async def _end_untagged(self, tag: str) -> None:
        """End what cleared its environment, once no other guest can have started it."""
        if found := subreaper.untagged_orphans():
            known = [info.identity for info in found]
            report = await stop_tree.sweep(tag, clock=self._clock, known=known)
            _log_swept(tag, report, self._log)

    async def sweep(self, handle: str) -> EndReport:
        """Kill all processes that have the tag."""
        return await LocalGuest(_tag(handle), clock=self._clock, log=self._log).end_all()

    @asynccontextmanager
    async def recover_output(self, handle: str) -> AsyncIterator[PipeHolders]:
        """Do the same, and give the unread output."""
        with PipeHolders(_tag(handle)) as holders:
            holders.drain()  # before the kill: a process blocked by a full pipe is inside a line
            await self.sweep(handle)
            holders.drain()
            yield holders

    def kill(self, handle: str) -> None:
        """Kill its processes and its pipe holders, without waiting."""
        tag = _tag(handle)
        stop_tree.stop_and_kill(tag)
        with PipeHolders(tag):
            pass  # leaving it kills them


class LocalGuest:
    """Gives one session this machine's processes, marked by `tag`, and its files."""

    def __init__(self, tag: str, *, clock: Clock | None = None, log: Log | None = None) -> None:
        self._tag = tag
        self._clock = clock or SystemClock()
        self._log = log or Log()
        self._children: WeakValueDictionary[int, Child] = WeakValueDictionary()
        """The processes that were started here, by their `id`."""
        self._may_have_processes = False
        self.files = LOCAL_FILES
        self.capabilities = GuestCapabilities(
            durable_output=CaptureBuffer.is_possible(),
            is_root=os.geteuid() == 0,
            python=sys.executable or None,
        )

    @property
    def handle(self) -> str:
        """The tag, with the prefix of this sandbox."""
        return f"{SCHEME}{self._tag}"

    def path(self, host_path: PurePath) -> str:
        """Return the path itself: it is the same inside."""
        return os.fspath(host_path)

    def environment(self, env: Mapping[str, str], needed: Iterable[str] = ()) -> dict[str, str]:
        """Return all of `env`: it was made for this machine (`guards.child_env`)."""
        del needed
        return dict(env)

    async def put(self, files: Iterable[PrivateFile]) -> None:
        """Write private files."""
        for file in files:
            await anyio.to_thread.run_sync(write_private, Path(file.path), file.content)

    async def read(self, path: PurePath | str, *, max_bytes: int) -> bytes:
        """Return the beginning of a regular file."""
        async with self.files.open(os.fspath(path)) as file:
            return await file.read(max_bytes, 0)

    async def exists(self, path: PurePath | str) -> bool:
        """Return whether there is a file or directory."""
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
        stdin: bytes = b"",
        keep_end: bool = False,
    ) -> Completed:
        """Run a command to its end."""
        command = Command(argv=argv, env=env, cwd=cwd, name=name, stdin=bool(stdin))
        return await run_to_end(
            self,
            command,
            stdin=stdin,
            timeout_s=timeout_s,
            max_output=max_output,
            clock=self._clock,
            keep_end=keep_end,
        )

    async def start(self, command: Command) -> Process:
        """Start a process; see `spawn`."""
        self._may_have_processes = True
        child = await spawn(
            ProcessSpec(
                argv=command.argv,
                cwd=Path(command.cwd),
                env=command.env,
                tag=f"{self._tag}/{command.name}" if command.name else self._tag,
                stdin=command.stdin,
                durable=command.durable,
            )
        )
        self._children[id(child)] = child
        return child

    async def end(
        self, process: Process, grace: Grace = DEFAULT_GRACE, *, on_step: OnStep | None = None
    ) -> EndReport:
        """End a process and all it started; see `end_process_tree`."""
        child = self._children.get(id(process))
        if child is None or child is not process:
            raise ProviderError(f"{process.label} was not started in this guest")
        if grace == NO_GRACE:
            report = await stop_tree.kill_now(child, clock=self._clock, on_step=on_step)
        else:
            steps = (
                stop_tree.Step(signal.SIGINT, grace.interrupt_s),
                stop_tree.Step(signal.SIGTERM, grace.terminate_s),
                stop_tree.KILL,
            )
            report = await stop_tree.end_process_tree(
                child,
                clock=self._clock,
                steps=[step for step in steps if step.grace_s > 0],
                on_step=on_step,
            )
        _log_swept(child.tag, report.swept, self._log)
        if child.tag == self._tag:
            self._may_have_processes = False
        return EndReport(report.exit_code, report.steps, report.elapsed_s, *_commands(report.swept))

    async def end_all(self) -> EndReport:
        """Kill all processes that have the tag."""
        report = await stop_tree.sweep(self._tag, clock=self._clock)
        _log_swept(self._tag, report, self._log)
        self._may_have_processes = False
        killed, survivors = _commands(report)
        return EndReport(killed=killed, survivors=survivors)

    async def close(self) -> None:
        """Kill the processes that may still run."""
        if self._may_have_processes:
            await self.end_all()


async def _feed(process: Process, stdin: bytes) -> None:
    if stdin:
        await process.send(stdin)
        await process.close_stdin()


def _tag(handle: str) -> str:
    """Return the tag of a handle; earlier versions stored the tag itself."""
    return handle.removeprefix(SCHEME)


def _commands(report: stop_tree.SweepReport) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (
        tuple(process.command for process in report.killed),
        tuple(process.command for process in report.survivors),
    )


def _log_swept(tag: str, report: stop_tree.SweepReport, log: Log) -> None:
    for processes, log_event, ended in (
        (report.killed, log.info, True),
        (report.survivors, log.error, False),
    ):
        if processes:
            count, first = len(processes), [found.command for found in processes[:_LOGGED_COMMANDS]]
            log_event(Event.PROCESS_SWEPT, tag=tag, count=count, ended=ended, commands=first)


async def run_to_end(
    guest: Guest,
    command: Command,
    *,
    timeout_s: float,
    max_output: int,
    clock: Clock,
    stdin: bytes = b"",
    keep_end: bool = False,
) -> Completed:
    """Run `command` in any guest, and end all it started; see `Guest.run`."""
    stdout, stderr = bytearray(), bytearray()

    def add(output: bytearray, chunk: bytes) -> None:
        output += chunk if keep_end else chunk[: max_output - len(output)]
        del output[: max(0, len(output) - max_output)]

    async with await guest.start(command) as process:
        exit_code = None
        try:
            with anyio.move_on_after(timeout_s) as limit:
                await drain(
                    process.wait,
                    lambda: pump(process.stdout, lambda chunk: add(stdout, chunk)),
                    lambda: pump(process.stderr, lambda chunk: add(stderr, chunk)),
                    lambda: _feed(process, stdin),
                    clock=clock,
                )
                exit_code = await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await guest.end(process, NO_GRACE)
    return Completed(bytes(stdout), bytes(stderr), exit_code, limit.cancelled_caught)
