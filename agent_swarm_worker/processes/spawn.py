"""Start a child process, write to its standard input and wait for its exit.

Each child leads a session and process group of its own, so that signals reach the processes it
starts, and carries a tag in its environment, so that `stop_tree.sweep` finds those that left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from anyio.abc import AsyncResource

from agent_swarm_worker.errors import BinaryMissing, ProviderError
from agent_swarm_worker.processes import pipe_holder, procfs, subreaper
from agent_swarm_worker.processes.capture_buffer import CaptureBuffer
from agent_swarm_worker.processes.pipes import LONG_READ_BYTES, PipeReader, PipeWriter
from agent_swarm_worker.processes.subreaper import TAG_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anyio.abc import Process


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to start."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    """The complete environment, but for the tag. Its ``PATH`` is where the program is looked up."""
    tag: str
    """Value of `TAG_VARIABLE` for every process of this tree. A search for the tag ``session``
    finds ``session/3`` too; a search for ``session/3`` finds that one only."""
    stdin: bool = False
    """Whether `send` will be used; if not, standard input is /dev/null."""
    durable: bool = False
    """Whether unread output is to survive this process (see `pipe_holder`)."""


class Child(AsyncResource):
    """A running child. Use as a context manager: leaving it closes our ends of the pipes.

    Closing does not end the process; `stop_tree` does. Signals are sent from there and never by
    the standard library's ``Popen``, which may take the exit status away from asyncio.
    """

    def __init__(
        self, process: Process, tag: str, stdin: PipeWriter | None, out: PipeReader, err: PipeReader
    ) -> None:
        self._process = process
        self._stdin = stdin
        self.tag = tag
        self.pid = process.pid
        info = procfs.inspect(process.pid)
        self.start_time: int | None = info.start_time if info else None
        """As in ``/proc``, to recognise a recycled pid."""
        self.stdout = out
        self.stderr = err
        self.pipe_holder: Process | None = None
        self.ending = anyio.Lock()

    @property
    def label(self) -> str:
        """Name for logs."""
        return f"pid {self.pid}"

    @property
    def returncode(self) -> int | None:
        """The exit code as a shell gives it, 128 + n after signal n; ``None`` while it runs."""
        code = self._process.returncode
        return 128 - code if code is not None and code < 0 else code

    async def wait(self) -> int:
        """Return `returncode` once the child has exited, even if its pipes are still open."""
        await self._process.wait()
        code = self.returncode
        assert code is not None
        return code

    async def send(self, data: bytes) -> bool:
        """Write to standard input; false if the child closed it or has exited.

        Bound it with a cancel scope: a child that never reads blocks for ever. After a cancellation
        the child may have the first part of `data`.
        """
        return self._stdin is not None and await self._stdin.send(data)

    async def close_stdin(self) -> None:
        """Close standard input: the child reads the end of file."""
        if self._stdin is not None:
            self._stdin.close()

    async def aclose(self) -> None:
        """Close our ends of the pipes."""
        await pipe_holder.end_holder(self.pipe_holder)
        await self.close_stdin()
        self.stdout.close()
        self.stderr.close()


async def spawn(spec: ProcessSpec) -> Child:
    """Start a child process.

    Raises:
        BinaryMissing: the program does not exist or cannot be executed.
        ProviderError: it cannot be started for another reason, such as too long arguments.
    """
    if not spec.argv:
        raise ProviderError("cannot start a harness: its command is empty")
    with ExitStack() as ours, ExitStack() as theirs:
        try:
            stdin, stdin_end = _stdin(ours, theirs) if spec.stdin else (None, subprocess.DEVNULL)
            names = (pipe_holder.STDOUT, pipe_holder.STDERR) if spec.durable else ("", "")
            stdout, stdout_end = _output(ours, theirs, names[0])
            stderr, stderr_end = _output(ours, theirs, names[1])
            # Before the child, so that it holds everything the child writes.
            holder = None
            if spec.durable:
                holder = await pipe_holder.start_holder(spec.tag, stdout, stderr)
            try:
                # Shielded: a start cancelled half way would leave an unknown process behind.
                with anyio.CancelScope(shield=True), subreaper.starting():
                    process = await anyio.open_process(
                        spec.argv,
                        stdin=stdin_end,
                        stdout=stdout_end,
                        stderr=stderr_end,
                        cwd=os.fspath(spec.cwd),
                        env={**spec.env, TAG_VARIABLE: spec.tag},
                        start_new_session=True,
                    )
                    subreaper.register(process)
                    child = Child(process, spec.tag, stdin, stdout, stderr)
                    child.pipe_holder = holder
            except BaseException:
                await pipe_holder.end_holder(holder)
                raise
        except OSError as error:
            raise _explain(error, spec) from error
        except ValueError as error:
            # A NUL byte, a lone surrogate, or a variable's name with an equals sign.
            raise ProviderError(
                f"cannot start {spec.argv[0]!r}: unusable argument or variable: {error}"
            ) from error
        ours.pop_all()
        return child


def _stdin(ours: ExitStack, theirs: ExitStack) -> tuple[PipeWriter, int]:
    their_end, our_end = os.pipe()
    theirs.callback(os.close, their_end)
    writer = PipeWriter(our_end)
    ours.callback(writer.close)
    return writer, their_end


def _output(ours: ExitStack, theirs: ExitStack, buffer_name: str) -> tuple[PipeReader, int]:
    our_end, their_end = os.pipe()
    theirs.callback(os.close, their_end)
    reader = PipeReader(our_end)
    ours.callback(reader.close)
    if buffer_name == pipe_holder.STDOUT and hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # the user has too many large pipes
            fcntl.fcntl(our_end, fcntl.F_SETPIPE_SZ, LONG_READ_BYTES)
    if buffer_name and CaptureBuffer.is_possible():
        reader.capture_buffer = CaptureBuffer.make(buffer_name)
    return reader, their_end


def _explain(error: OSError, spec: ProcessSpec) -> ProviderError:
    program = spec.argv[0]
    # A missing directory and a missing program have the same errno; the file name differs.
    if error.filename == os.fspath(spec.cwd) and program != error.filename:
        return ProviderError(f"cannot start {program!r} in {spec.cwd}: {error.strerror}")
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return BinaryMissing(program, _why_missing(program, spec))
        case errno.EACCES:
            return BinaryMissing(program, "permission denied")
        case errno.ENOEXEC:
            return BinaryMissing(program, "not a program this system can run")
        case errno.E2BIG:
            longest = max(len(os.fsencode(argument)) for argument in spec.argv)
            return ProviderError(
                f"cannot start {program!r}: argument list too long; the longest of"
                f" {len(spec.argv)} arguments has {longest} bytes"
            )
    return ProviderError(f"cannot start {program!r}: {error.strerror}")


def _why_missing(program: str, spec: ProcessSpec) -> str:
    is_path = "/" in program
    path = os.path.join(spec.cwd, program) if is_path else program  # noqa: PTH118 - an argv word
    if shutil.which(path, path=os.pathsep.join(os.get_exec_path(spec.env))):
        return "the interpreter that its first line names does not exist"
    return "no such file" if is_path else "not found on PATH"
