"""Small hostile programs, and how to look at what became of them."""

from __future__ import annotations

import os
import sys
import textwrap
import uuid
from pathlib import Path

import anyio
import anyio.lowlevel
from patience import until

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.spawn import Child, ProcessSpec

HEADER = """\
import os, signal, sys, time
def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def deaf(*signals):
    for number in signals or (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
def fork(): return os.fork() == 0
def rest(): time.sleep(600)
"""


def python(directory: Path, source: str) -> tuple[str, ...]:
    """Write a program and return the command that runs it."""
    path = directory / f"program-{uuid.uuid4().hex[:8]}.py"
    path.write_text(HEADER + textwrap.dedent(source))
    return (sys.executable, "-I", "-S", str(path))


def spec(
    argv: tuple[str, ...], tag: str, *, cwd: Path = Path("/"), stdin: bool = False
) -> ProcessSpec:
    return ProcessSpec(argv, cwd, dict(os.environ), tag, stdin)


def is_alive(pid: int) -> bool:
    info = procfs.inspect(pid)
    return info is not None and not info.is_dead


async def settled(child: Child) -> Child:
    """Wait until the tag shows: for a moment after its start a program has no environment."""
    await until(lambda: environment(child.pid) != b"")
    return child


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def gone(pid: int) -> None:
    await until(lambda: not is_alive(pid))


async def numbers(child: Child) -> list[int]:
    """Read one line of numbers: the pids a program says it has."""
    line = b""
    while not line.endswith(b"\n"):
        line += await child.stdout.receive(1)
    return [int(word) for word in line.split()]


async def everything(child: Child) -> bytes:
    return b"".join([chunk async for chunk in child.stdout])


class PatientClock(SystemClock):
    """A clock on which waiting takes no time but counts."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await anyio.lowlevel.checkpoint()
