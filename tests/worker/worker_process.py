"""A worker as an operator starts it: a process with signals and an exit code."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from patience import BYTECODE, until

from agent_swarm_worker.logs import Event
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.pipe_holder import PipeHolders
from agent_swarm_worker.processes.subreaper import TAG_VARIABLE

_numbers = count(1)


class WorkerProcess:
    """A running worker and what it has written so far."""

    def __init__(self, process: Process, output: Path) -> None:
        self._process, self._output = process, output
        self.pid = process.pid

    def signal(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    async def exit_code(self, *, within_s: float = 60.0) -> int:
        with anyio.fail_after(within_s):
            return await self._process.wait()

    def text(self) -> str:
        return self._output.read_text()

    def lines(self) -> list[str]:
        """What it said that is not a log line."""
        return [line for line in self.text().splitlines() if not line.startswith("{")]

    def logged(self, event: Event) -> list[dict[str, Any]]:
        whole = self.text().rpartition("\n")[0]  # it may be in the middle of a line
        found = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event.value]

    async def until_logged(self, event: Event, *, times: int = 1) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await until(
            lambda: len(self.logged(event)) >= times and self.logged(event)
        )
        return found


@asynccontextmanager
async def worker_process(
    place: Path,
    env: dict[str, str],
    *args: str,
    command: str = "worker",
    parent: tuple[str, ...] = (),
) -> AsyncIterator[WorkerProcess]:
    """Start a worker; one that still runs at the end of the block is killed with its sessions.

    `parent` is a command that becomes the one after its arguments, as ``nohup`` does.
    """
    output = place / f"worker-{next(_numbers)}.txt"
    with output.open("wb") as file:
        process = await anyio.open_process(
            [*parent, sys.executable, "-m", "agent_swarm_worker", command, *args],
            stdin=None,
            stdout=file,
            stderr=file,
            env={**BYTECODE, "SWARM_LOG_LEVEL": "debug", **env},
            cwd=place,
        )
    worker = WorkerProcess(process, output)
    try:
        yield worker
    except BaseException:
        print(worker.text()[-20_000:])
        raise
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
                await process.wait()
            for pid in tagged(place):
                os.kill(pid, signal.SIGKILL)
            for session in place.glob("**/sessions/*"):
                with PipeHolders(session.name):
                    pass  # its end ends the keepers


def tagged(place: Path) -> list[int]:
    """Return the living processes that belong to a session of a worker whose files lie there."""
    marks = (os.fsencode(f"{TAG_VARIABLE}="), os.fsencode(f"SWARM_STATE_DIR={place}/"))
    found = []
    for info in procfs.snapshot().values():
        try:
            environment = Path(f"/proc/{info.pid}/environ").read_bytes()
        except OSError:
            continue
        if not info.is_dead and all(mark in environment for mark in marks):
            found.append(info.pid)
    return found


def killed_at_call(place: Path, at: int, calls: str) -> dict[str, str]:
    """Return the environment of a worker that is killed at one of its calls: ``kill_at_call/``.

    Args:
        place: where ``go`` says from when on they count, and ``died at`` which it was.
        at: the number of the call.
        calls: which count.
    """
    return {
        "PYTHONPATH": str(Path(__file__).parent / "kill_at_call"),
        "MORTAL_FROM": str(place / "go"),
        "MORTAL_AT": str(at),
        "MORTAL_CALLS": calls,
    }


def has_died(place: Path) -> bool:
    return (place / "died at").exists()
