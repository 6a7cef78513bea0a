"""Keeping a child's output for the next worker, should this one be killed.

What a child has written and nobody has read yet lies in the kernel, and is gone as soon as nobody
holds the reading end of the pipe; the child itself dies of its next write then. So a second
process, which does nothing but sleep, holds that end too. After a crash the child goes on until the
pipe is full, and whoever cleans up finds the sleeper, takes what is in the pipe, and ends both.

Needs ``/proc``, so on Linux only; elsewhere nothing is kept.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.processes import procfs, subreaper

if TYPE_CHECKING:
    from anyio.abc import Process

KEEPER_VARIABLE = "AGENT_SWARM_KEEPER"
"""What a keeper carries instead of the session's own tag, so that a sweep does not take it for
something the session left behind."""
LONGEST_S = 24 * 3600
"""When a keeper gives up: nobody came for it."""
END_S = 1.0
_STDOUT, _STDERR = 0, 1
"""Where a keeper holds the two reading ends: as its own standard input and output."""
_BLOCK_BYTES = 1 << 16
MAX_LEFT_BYTES = 4 << 20
"""Of either stream; a pipe holds 64 KiB, and a child that is being killed adds little."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a session had said that nobody has read."""

    stdout: bytes = b""
    stderr: bytes = b""


async def keep(tag: str, stdout: int, stderr: int) -> Process | None:
    """Start the keeper of a child; ``None`` where there can be none.

    Args:
        tag: of the child.
        stdout: the reading end of its standard output.
        stderr: the reading end of its standard error.
    """
    if sys.platform != "linux":
        return None
    with anyio.CancelScope(shield=True), subreaper.starting():
        try:
            process = await anyio.open_process(
                ["sleep", str(LONGEST_S)],
                stdin=stdout,
                stdout=stderr,
                stderr=subprocess.DEVNULL,
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
    """What keepers of a session that a killed worker left behind hold. Use as a context manager."""

    def __init__(self, tag: str) -> None:
        entry = os.fsencode(f"{KEEPER_VARIABLE}={tag}")
        self._keepers = [pid for pid in procfs.snapshot() if procfs.has_variable(pid, entry)]
        self._stdout = [_open(pid, _STDOUT) for pid in self._keepers]
        self._stderr = [_open(pid, _STDERR) for pid in self._keepers]
        self._said, self._complained = bytearray(), bytearray()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self._keepers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for handle in (*self._stdout, *self._stderr):
            if handle >= 0:
                os.close(handle)

    def read(self) -> Leftovers:
        """Take what is there now; return all that was taken so far."""
        for handle in self._stdout:
            _take(handle, self._said)
        for handle in self._stderr:
            _take(handle, self._complained)
        return Leftovers(bytes(self._said), bytes(self._complained))


def _open(pid: int, number: int) -> int:
    with contextlib.suppress(OSError):
        return os.open(f"/proc/{pid}/fd/{number}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return -1


def _take(handle: int, into: bytearray) -> None:
    """Read until the pipe is empty, or ended."""
    while handle >= 0 and len(into) < MAX_LEFT_BYTES:
        try:
            block = os.read(handle, _BLOCK_BYTES)
        except OSError:  # nothing there, and somebody who could still write
            return
        if not block:
            return
        into += block
