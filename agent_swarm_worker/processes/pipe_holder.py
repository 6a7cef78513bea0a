"""Keeping a child's output for the next worker, should this one be killed.

What a child has written and nobody has read yet lies in the kernel, and is gone as soon as nobody
holds the reading end of the pipe; the child itself dies of its next write then. So a second
process, which does nothing but sleep, holds that end too, and with it the file in memory through
which we read it (`capture_buffer`). After a crash the child goes on until the pipe is full, and
whoever cleans up finds the sleeper, takes what is in pipe and file, and ends both.

Linux only; elsewhere nothing is kept.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.processes import procfs, subreaper
from agent_swarm_worker.processes.capture_buffer import CaptureBuffer, WriteIntent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.abc import Process

    from agent_swarm_worker.processes.pipes import PipeReader

KEEPER_VARIABLE = "AGENT_SWARM_KEEPER"
"""What a keeper carries instead of the session's own tag, so that a sweep does not take it for
something the session left behind."""
LONGEST_S = 24 * 3600
"""When a keeper gives up: nobody came for it."""
END_S = 1.0
STDOUT, STDERR = "agent-swarm-stdout", "agent-swarm-stderr"
"""What the two intakes are called."""
_HELD_AT = {STDOUT: 0, STDERR: 1}
"""Where a keeper holds the two reading ends: as its own standard input and output."""
_BLOCK_BYTES = 1 << 16
MAX_LEFT_BYTES = 4 << 20
"""Taken from either pipe; it holds 64 KiB, and a child that is being killed adds little."""


class Left:
    """What one stream of a session had to say that is not recorded yet."""

    def __init__(self, pipe: int, capture_buffer: CaptureBuffer) -> None:
        self._pipe, self._capture_buffer = pipe, capture_buffer
        self._loose = bytearray()
        """What came after the intake had been given up."""

    @property
    def last_checkpoint(self) -> WriteIntent | None:
        """What was about to be recorded; ``None`` if nobody knows."""
        return self._capture_buffer.write_intent

    def rest(self, record_size: int) -> bytes:
        """Return what is not in the record, of which the size is given."""
        if self.last_checkpoint is None:
            return bytes(self._loose).partition(b"\n")[2]  # it may begin with half a secret
        return self._capture_buffer.rest(record_size)

    def checkpoint(self, record_begin: int, record_end: int) -> None:
        """Say that all of it is about to be recorded."""
        self._capture_buffer.checkpoint(0, record_begin, record_end)

    def take(self) -> None:
        """Take what is in the pipe, until it is empty or has ended."""
        taken = 0
        while taken < MAX_LEFT_BYTES:
            chunk = self._capture_buffer.fill(self._pipe, _BLOCK_BYTES)
            if not chunk:
                return
            taken += len(chunk)
            if self.last_checkpoint is None:
                self._loose += chunk

    def close(self) -> None:
        """Let go of it."""
        os.close(self._pipe)
        self._capture_buffer.close()


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is left of a session: of each keeper that was found, in no order."""

    stdout: tuple[Left, ...] = ()
    stderr: tuple[Left, ...] = ()


async def keep(tag: str, stdout: PipeReader, stderr: PipeReader) -> Process | None:
    """Start the keeper of a child; ``None`` where there can be none.

    Args:
        tag: of the child.
        stdout: what reads its standard output.
        stderr: what reads its standard error.
    """
    if stdout.capture_buffer is None or stderr.capture_buffer is None:
        return None
    with anyio.CancelScope(shield=True), subreaper.starting():
        try:
            process = await anyio.open_process(
                ["sleep", str(LONGEST_S)],
                stdin=stdout.fd,
                stdout=stderr.fd,
                stderr=subprocess.DEVNULL,
                pass_fds=(stdout.capture_buffer.handle, stderr.capture_buffer.handle),
                env={"PATH": os.defpath, KEEPER_VARIABLE: tag},
                start_new_session=True,
            )
        except OSError:
            return None  # a machine without `sleep`, or without room for a process
        subreaper.register(process)
    return process


async def end(process: Process | None) -> None:
    """End a keeper, also while being cancelled; nothing keeps a sleeping process from dying."""
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        with anyio.move_on_after(END_S, shield=True):
            await process.wait()


class Kept:
    """What keepers of a session that a killed worker left behind hold.

    Use as a context manager: leaving it ends them, unless it is left by an error: then what they
    hold may not be safe yet.
    """

    def __init__(self, tag: str) -> None:
        entry = os.fsencode(f"{KEEPER_VARIABLE}={tag}")
        self._keepers = [pid for pid in procfs.snapshot() if procfs.has_variable(pid, entry)]
        self.left = Leftovers(*(tuple(_held(self._keepers, name)) for name in (STDOUT, STDERR)))

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for pid in self._keepers if kind is None else ():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for left in (*self.left.stdout, *self.left.stderr):
            left.close()

    def take(self) -> None:
        """Take what is there now."""
        for left in (*self.left.stdout, *self.left.stderr):
            left.take()


def _held(keepers: list[int], name: str) -> Iterator[Left]:
    for pid in keepers:
        files = Path(f"/proc/{pid}/fd")
        with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
            pipe = os.open(files / str(_HELD_AT[name]), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            opened.callback(os.close, pipe)
            for file in files.iterdir():
                if name in str(file.readlink()):
                    yield Left(pipe, CaptureBuffer(os.open(file, os.O_RDWR | os.O_CLOEXEC)))
                    opened.pop_all()
                    break
