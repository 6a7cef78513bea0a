"""The tool `bash`: run a command in the guest."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any

import anyio

from agent_swarm_worker.contract import NO_GRACE, Command
from agent_swarm_worker.processes.pipes import MAX_BAR_BYTES, drain
from agent_swarm_worker.providers.kit.progress_bar import BAR_QUIET_S, newest_state
from agent_swarm_worker.providers.pi.tools.base import (
    MAX_BYTES,
    CodingTool,
    Param,
    ToolOutcome,
    ToolRefusal,
    clipped,
    size_of,
    to_utf8,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePath

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import AppendFile, Guest, Process, ProviderSessionConfig
    from agent_swarm_worker.providers.pi.tools.base import PathResolver

DEFAULT_TIMEOUT_S = 120
MAX_TIMEOUT_S = 3600
MAX_FILE_BYTES = 64 * 1024 * 1024
BAR_INTERVAL_S = 1.0
DRAIN_S = 0.5
"""How long output is read after the exit, while a background process holds the pipe."""


class BashTool(CodingTool):
    """Runs a command.

    Both output streams share one pipe, so that they come in the order they were written. Background
    processes run on until the session ends; their pipe is closed.
    """

    name = "bash"
    description = (
        "Run a bash command in the working directory. Answers with what it prints (standard error"
        " included; of long output the beginning and the end) and its exit code, if that is not"
        f" 0. It is ended after {DEFAULT_TIMEOUT_S} s unless timeout says otherwise. There is no"
        " standard input. To leave a program running, redirect its output to a file and end with &."
    )
    params = (
        Param("command", "string", "What to run", True),
        Param("timeout", "integer", "Seconds it may take", least=1, most=MAX_TIMEOUT_S),
    )

    def __init__(
        self,
        paths: PathResolver,
        config: ProviderSessionConfig,
        clock: Clock,
        output_dir: PurePath,
        report: Callable[[str], None],
    ) -> None:
        super().__init__(paths, config.redactor)
        self._report = report
        self._config = config
        self._guest = config.guest
        self._clock = clock
        self._output_dir = output_dir
        self._numbers = itertools.count(1)

    async def _call(self, args: dict[str, Any]) -> ToolOutcome:
        to_utf8(args["command"], "command")
        number = next(self._numbers)
        output = Output(self._guest, self._output_dir / f"bash-{number}.log")
        limit_s = args.get("timeout", DEFAULT_TIMEOUT_S)
        async with await self._guest.start(await self._command(args["command"], number)) as child:
            try:
                in_time = await self._wait(child, output, limit_s)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._guest.end(child, NO_GRACE)
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    text = await output.text()
            text = text.rstrip() or "(no output)"
            if not in_time:
                return ToolOutcome(f"{text}\n\n[ended: it took longer than {limit_s} s]", True)
            if child.returncode != 0:
                code = "unknown" if child.returncode is None else child.returncode
                return ToolOutcome(f"{text}\n\n[exit code {code}]", True)
            return ToolOutcome(text)

    async def _command(self, command: str, number: int) -> Command:
        env, which = self._config.env, self._guest.files.which
        shell = await which("bash", env) or await which("sh", {"PATH": os.defpath})
        if shell is None:
            raise ToolRefusal("there is no shell on this machine")
        return Command(
            # One pipe for both streams; the outer shell arranges that and is then replaced.
            argv=("/bin/sh", "-c", 'exec "$0" -c "$1" 2>&1', shell, command),
            cwd=self._config.cwd,
            env=env,
            name=f"bash-{number}",
        )

    async def _wait(self, child: Process, output: Output, limit_s: float) -> bool:
        """Read output until the command exits; return False if it exceeded its time limit."""
        scrubber, in_time = self.redactor.stream(), True

        async def read() -> None:
            with contextlib.suppress(anyio.EndOfStream, anyio.ClosedResourceError):
                while True:
                    # Added before a cancellation is possible; the file is written afterwards.
                    output.add(scrubber.feed(await child.stdout.receive()))
                    output.changed_at_s = self._clock.monotonic()
                    if self._config.sink is not None:
                        self._config.sink.received(())  # each byte is a sign of life
                    await output.save()

        async def end_in_time() -> None:
            nonlocal in_time
            await self._clock.sleep(limit_s)
            in_time = False
            await self._guest.end(child)  # not shielded: an abort may cut it short

        try:
            async with anyio.create_task_group() as bar:
                bar.start_soon(self._report_bar, output)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(end_in_time)
                    await drain(child.wait, read, clock=self._clock, drain_s=DRAIN_S)
                    await child.wait()  # it may close its output and run on
                    # If the time limit was reached, `end` is under way and must be completed.
                    if in_time:
                        tasks.cancel_scope.cancel()
                bar.cancel_scope.cancel()
        finally:
            output.add(scrubber.close())
        return in_time

    async def _report_bar(self, output: Output) -> None:
        """Report each new state of a progress bar, at most every second."""
        reported = ""
        while True:
            await self._clock.sleep(BAR_INTERVAL_S)
            is_quiet = self._clock.monotonic() - output.changed_at_s >= BAR_QUIET_S
            newest = newest_state(output.states(), self.redactor, is_quiet=is_quiet)
            if newest and newest != reported:
                reported = newest
                self._report(newest)


class Output:
    """Collects scrubbed output of any length: its beginning and end in memory.

    If not all can be shown, the whole output is written to `path`, with mode 0600.
    """

    def __init__(self, guest: Guest, path: PurePath) -> None:
        self._guest, self._path = guest, path
        self._head = bytearray()
        self._tail = bytearray()
        self._line = b""
        """The end of the line that has not ended."""
        self.changed_at_s = 0.0
        self._unsaved = bytearray()
        """Bytes that are not written to the file yet."""
        self._file: AppendFile | None = None
        self._size = 0
        self._in_file = 0
        self._is_lost = False
        """The file could not be written, or is full."""

    def add(self, data: bytes) -> None:
        """Add the next bytes; call `save` soon."""
        self._size += len(data)
        _, newline, rest = data.rpartition(b"\n")
        self._line = (rest if newline else self._line + rest)[-MAX_BAR_BYTES:]
        if not self._is_lost:
            self._unsaved += data
        room = MAX_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * MAX_BYTES:
            del self._tail[:-MAX_BYTES]

    def states(self) -> list[bytes]:
        """Return the last states of a progress bar: the line that has not ended, in parts."""
        return self._line.split(b"\r")

    async def save(self) -> None:
        """Write to the file, if there is more than can be shown."""
        if self._size > MAX_BYTES:
            await self._save()

    async def text(self) -> str:
        """Close the file and return the text for the model. Call it once, at the end."""
        await self.save()
        whole = (self._head + self._tail).decode("utf-8", "replace").rstrip()
        dropped = self._size - len(self._head) - len(self._tail)
        shown = clipped(whole, dropped=dropped)
        if self._size and shown != whole and self._file is None:
            await self._save()  # few bytes in many lines: all are still in memory
        if self._file is not None:
            await self._file.aclose()
        return shown if shown == whole else f"{shown}\n\n[{self._location()}]"

    def _location(self) -> str:
        if self._file is None:
            return f"{size_of(self._size)} in all, for which no file could be written"
        if self._is_lost:
            return f"{self._path} has the first part of {size_of(self._size)} in all"
        return f"{self._path} has all {size_of(self._size)} of it"

    async def _save(self) -> None:
        if self._is_lost:
            return
        data, self._unsaved = bytes(self._unsaved), bytearray()
        try:
            if self._file is None:
                self._file = await self._guest.files.append_to(str(self._path), create=True)
            room = MAX_FILE_BYTES - self._in_file
            await self._file.append(data[:room])
            self._in_file += min(len(data), room)
            self._is_lost = len(data) > room
        except OSError:
            self._is_lost = True
