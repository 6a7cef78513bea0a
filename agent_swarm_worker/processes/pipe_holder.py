"""Hold a child's pipes open in a second process, so that a killed worker loses no output.

Bytes that a child wrote and nobody read are in the kernel, and are lost when the last reading end
of the pipe is closed; the child's next write then ends it with SIGPIPE. So each child gets a pipe
holder: a ``sleep`` process with the reading ends and the capture buffers (`capture_buffer`) open.
After a crash the child runs on until the pipe is full, and the next worker finds the holder, reads
the pipes and buffers, and ends both. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.processes import procfs, subreaper
from agent_swarm_worker.processes.capture_buffer import CaptureBuffer, WriteIntent
from agent_swarm_worker.processes.subreaper import HOLDER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.abc import Process

    from agent_swarm_worker.processes.pipes import PipeReader

HOLDER_LIFETIME_S = 24 * 3600
END_S = 1.0
STDOUT, STDERR = "agent-swarm-stdout", "agent-swarm-stderr"
"""Names of the two capture buffers in ``/proc``."""
_HOLDER_FD = {STDOUT: 0, STDERR: 1}
"""The reading ends in the holder: its own standard input and output."""
_BLOCK_BYTES = 1 << 16
MAX_UNREAD_BYTES = 4 << 20
"""Bound for reading one pipe; it holds 64 KiB, and a child that is being killed adds little."""


async def start_holder(tag: str, stdout: PipeReader, stderr: PipeReader) -> Process | None:
    """Start the pipe holder of the child with this tag; ``None`` where that is not possible."""
    if stdout.capture_buffer is None or stderr.capture_buffer is None:
        return None
    with anyio.CancelScope(shield=True), subreaper.starting():
        try:
            process = await anyio.open_process(
                ["sleep", str(HOLDER_LIFETIME_S)],
                stdin=stdout.fd,
                stdout=stderr.fd,
                stderr=subprocess.DEVNULL,
                pass_fds=(stdout.capture_buffer.handle, stderr.capture_buffer.handle),
                env={"PATH": os.defpath, HOLDER_VARIABLE: tag},
                start_new_session=True,
            )
        except OSError:
            return None  # there is no `sleep`, or no process can be started
        subreaper.register(process)
    return process


async def end_holder(process: Process | None) -> None:
    """Kill a holder and reap it, also while being cancelled."""
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        with anyio.move_on_after(END_S, shield=True):
            await process.wait()


class HeldPipe:
    """One output stream of an orphaned session: its pipe and its capture buffer."""

    def __init__(self, pipe: int, capture_buffer: CaptureBuffer) -> None:
        self._pipe, self._capture_buffer = pipe, capture_buffer
        self._unbuffered = bytearray()
        """Bytes read after the capture buffer was abandoned."""

    @property
    def write_intent(self) -> WriteIntent | None:
        """The buffer's."""
        return self._capture_buffer.write_intent

    def unjournaled(self, journal_size: int) -> bytes:
        """Return the bytes that are not in a journal of this size."""
        if self.write_intent is None:
            return bytes(self._unbuffered).partition(b"\n")[2]  # it may begin with half a secret
        return self._capture_buffer.unjournaled(journal_size)

    def checkpoint(self, journal_begin: int, journal_end: int) -> None:
        """Write the intent to append all of it to the journal."""
        self._capture_buffer.checkpoint(0, journal_begin, journal_end)

    def drain(self) -> None:
        """Read the pipe until it is empty or has ended."""
        size = 0
        while size < MAX_UNREAD_BYTES:
            chunk = self._capture_buffer.fill(self._pipe, _BLOCK_BYTES)
            if not chunk:
                return
            size += len(chunk)
            if self.write_intent is None:
                self._unbuffered += chunk

    def close(self) -> None:
        """Close the pipe and the capture buffer."""
        os.close(self._pipe)
        self._capture_buffer.close()


class PipeHolders:
    """The pipe holders of an orphaned session, and the pipes they hold, in no order.

    Use as a context manager: leaving it kills the holders, unless it is left by an error: then
    their output may not be safe yet.
    """

    def __init__(self, tag: str) -> None:
        entry = os.fsencode(f"{HOLDER_VARIABLE}={tag}")
        self._holders = [pid for pid in procfs.snapshot() if procfs.has_variable(pid, entry)]
        self.stdout = tuple(_open_pipes(self._holders, STDOUT))
        self.stderr = tuple(_open_pipes(self._holders, STDERR))

    def __enter__(self) -> PipeHolders:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for pid in self._holders if kind is None else ():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pipe in (*self.stdout, *self.stderr):
            pipe.close()

    def drain(self) -> None:
        """Read all pipes until they are empty."""
        for pipe in (*self.stdout, *self.stderr):
            pipe.drain()


def _open_pipes(holders: list[int], name: str) -> Iterator[HeldPipe]:
    for pid in holders:
        files = Path(f"/proc/{pid}/fd")
        with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
            pipe = os.open(
                files / str(_HOLDER_FD[name]), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
            opened.callback(os.close, pipe)
            for file in files.iterdir():
                if name in str(file.readlink()):
                    yield HeldPipe(pipe, CaptureBuffer(os.open(file, os.O_RDWR | os.O_CLOEXEC)))
                    opened.pop_all()
                    break
