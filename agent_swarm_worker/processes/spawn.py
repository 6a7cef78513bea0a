"""Starting a child process and talking to it.

Each child leads a session and process group of its own, so that signals reach what it started, and
carries a tag in its environment, so that what left the group is found too (`sweep`).
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from anyio.abc import AsyncResource

from agent_swarm_worker.errors import BinaryMissing, ProviderError
from agent_swarm_worker.processes import pipe_holder, procfs, subreaper
from agent_swarm_worker.processes.capture_buffer import CaptureBuffer
from agent_swarm_worker.processes.pipes import PipeReader, PipeWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anyio.abc import Process

TAG_VARIABLE = "AGENT_SWARM_SESSION"


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to start."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    """The complete environment, but for the tag. Its ``PATH`` is where the program is looked up."""
    tag: str
    """What every process of this tree carries in `TAG_VARIABLE`. One tag may be part of another:
    who looks for ``session`` finds ``session/3`` too, and who looks for that one finds no other."""
    stdin: bool = False
    """Whether there is something to `send`. If not, standard input is /dev/null: many a harness
    waits for the end of an open pipe before it starts."""
    kept: bool = False
    """Whether what it writes is to outlive this process (see `keeper`)."""


class Child(AsyncResource):
    """A running child. Use as a context manager: leaving it closes our ends of the pipes.

    Closing does not end the process; `kill_ladder` does. Signals go through there too and never
    through the standard library's ``Popen``, which may take the exit status away from asyncio.
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
        """As in ``/proc``, so that a recycled pid is told apart; ``None`` if not known."""
        self.stdout = out
        self.stderr = err
        self.keeper: Process | None = None
        self.ending = anyio.Lock()
        """Held by whoever is ending this child, so that two do not do it at once."""

    @property
    def label(self) -> str:
        """What a log calls it."""
        return f"pid {self.pid}"

    @property
    def returncode(self) -> int | None:
        """The exit code as a shell gives it, 128 + n after signal n; ``None`` while it runs."""
        code = self._process.returncode
        return 128 - code if code is not None and code < 0 else code

    async def wait(self) -> int:
        """Return `returncode` once the child has exited, whoever may still hold its pipes."""
        await self._process.wait()
        code = self.returncode
        assert code is not None
        return code

    async def send(self, data: bytes) -> bool:
        """Write to standard input, waiting for the child to read.

        Bound it with a cancel scope: a child that never reads blocks for ever. Cancelling may
        leave the child with the first part of `data`.

        Returns:
            Whether all of it was taken. A child that closed its standard input or has exited is
            no error; how it ended is what counts.
        """
        return self._stdin is not None and await self._stdin.send(data)

    async def close_stdin(self) -> None:
        """Let the child read the end of its input."""
        if self._stdin is not None:
            self._stdin.close()

    async def aclose(self) -> None:
        """Close our ends of the pipes, at once and whatever the other side does."""
        await pipe_holder.end(self.keeper)
        await self.close_stdin()
        self.stdout.close()
        self.stderr.close()


async def spawn(spec: ProcessSpec) -> Child:
    """Start a child process.

    Raises:
        BinaryMissing: the program does not exist or cannot be executed.
        ProviderError: anything else that kept it from starting, such as too long arguments.
    """
    if not spec.argv:
        msg = "cannot start a harness: its command is empty"
        raise ProviderError(msg)
    with ExitStack() as ours, ExitStack() as theirs:
        try:
            stdin, stdin_end = _stdin(ours, theirs) if spec.stdin else (None, subprocess.DEVNULL)
            stdout, stdout_end = _output(ours, theirs, pipe_holder.STDOUT if spec.kept else "")
            stderr, stderr_end = _output(ours, theirs, pipe_holder.STDERR if spec.kept else "")
            # First: there must be no word that it does not keep.
            sleeper = await pipe_holder.keep(spec.tag, stdout, stderr) if spec.kept else None
            try:
                # Shielded: a start that is cancelled half way would leave a process nobody knows.
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
                    child = Child(process, spec.tag, stdin, stdout, stderr)
                    child.keeper = sleeper
                    subreaper.register(child)
            except BaseException:
                await pipe_holder.end(sleeper)
                raise
        except OSError as error:
            raise _explain(error, spec) from error
        except ValueError as error:
            # A NUL byte, a lone surrogate, or a variable's name with an equals sign.
            msg = f"cannot start {spec.argv[0]!r}: unusable argument or variable: {error}"
            raise ProviderError(msg) from error
        ours.pop_all()
        return child


def _stdin(ours: ExitStack, theirs: ExitStack) -> tuple[PipeWriter, int]:
    their_end, our_end = os.pipe()
    theirs.callback(os.close, their_end)
    writer = PipeWriter(our_end)
    ours.callback(writer.close)
    return writer, their_end


def _output(ours: ExitStack, theirs: ExitStack, kept_as: str) -> tuple[PipeReader, int]:
    our_end, their_end = os.pipe()
    theirs.callback(os.close, their_end)
    reader = PipeReader(our_end)
    ours.callback(reader.close)
    if kept_as and CaptureBuffer.is_possible():
        reader.capture_buffer = CaptureBuffer.make(kept_as)
    return reader, their_end


def _explain(error: OSError, spec: ProcessSpec) -> ProviderError:
    program = spec.argv[0]
    # The same error number stands for a missing directory and a missing program; the name differs.
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
            longest = max(len(os.fsencode(word)) for word in spec.argv)
            return ProviderError(
                f"cannot start {program!r}: argument list too long; the longest of"
                f" {len(spec.argv)} arguments has {longest} bytes"
            )
    return ProviderError(f"cannot start {program!r}: {error.strerror}")


def _why_missing(program: str, spec: ProcessSpec) -> str:
    is_path = "/" in program
    place = os.path.join(spec.cwd, program) if is_path else program  # noqa: PTH118 - an argv word
    if shutil.which(place, path=os.pathsep.join(os.get_exec_path(spec.env))):
        return "the interpreter that its first line names does not exist"
    return "no such file" if is_path else "not found on PATH"
